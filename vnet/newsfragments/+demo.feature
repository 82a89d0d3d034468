`make demo` builds two homes behind NATs and a mediator in network namespaces of one computer, and shows the join, the path, a ping and the throughput.
