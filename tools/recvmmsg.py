"""
Writes vnet/protocols/_recvmmsg.py: the structures of recvmmsg(2) and the call, in the form that cffi loads without a parser of C.
"""

import tempfile
from pathlib import Path

from cffi import FFI

MODULE = Path(__file__).parent.parent / "vnet" / "protocols" / "_recvmmsg.py"
DEFINITIONS = """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr { void *msg_name; unsigned msg_namelen; struct iovec *msg_iov; size_t msg_iovlen; void *msg_control;
        size_t msg_controllen; int msg_flags; };
    struct mmsghdr { struct msghdr msg_hdr; unsigned msg_len; };
    struct cmsghdr { size_t cmsg_len; int cmsg_level; int cmsg_type; int data; };
    int recvmmsg(int, void *, unsigned, int, void *);
"""
HEAD = '''# ruff: noqa: E501
# fmt: off
"""
The structures of recvmmsg(2) and the call.  Written by C{tools/recvmmsg.py}; do not edit.
"""

'''


def text() -> str:
    """
    The text of the module.
    """
    builder = FFI()
    builder.set_source("vnet.protocols._recvmmsg", None)
    builder.cdef(DEFINITIONS)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "made.py"
        builder.emit_python_code(str(path))
        made = path.read_text()
    return HEAD + made[made.index("import _cffi_backend") :]


if __name__ == "__main__":
    MODULE.write_text(text())
