A node that carries much moves its memory into large pages: some 5 % less processor time, for 2 MB more memory.
