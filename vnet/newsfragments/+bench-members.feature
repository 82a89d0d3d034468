`make bench-members` measures what a network of 2,000 members costs one of them.
