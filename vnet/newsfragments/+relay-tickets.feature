A node that is logged in may ask its mediator for fresh credentials for the relays; they carry a class of service, low or high.
