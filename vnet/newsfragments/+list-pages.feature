`vnet list` shows one network, members that are searched, or those that are online, and on a terminal a page of 100 at a time.
