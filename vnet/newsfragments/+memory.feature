A node needs less memory: it loads no more than it needs, and ten seconds after the start it gives back what only the start has touched.
