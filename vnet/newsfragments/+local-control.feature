Programs can ask the running client through a UNIX socket that speaks lines of JSON.
