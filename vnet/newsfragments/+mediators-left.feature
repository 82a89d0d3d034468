A mediator that a node only tries to log in to, or has left, is not heard; what a mediator sends without end costs a node no more than one synchronisation a second and 65,536 members.
