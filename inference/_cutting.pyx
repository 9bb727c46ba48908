# cython: language_level=3, boundscheck=False, wraparound=False
"""The two searches of inference.cutting in C, for where the hot path is compiled (deploy/compiling.py).

They give what their namesakes in Python give, on any bytes: tests/inference/test_compiled.py compares them.
"""

from libc.string cimport memchr, memcmp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from "string.h" nogil:
    void *memmem(const void *where, size_t size, const void *what, size_t length)
    void *memrchr(const void *where, int what, size_t size)


cdef const char *last_next(const char *begin, const char *end) noexcept nogil:
    """Where the last ``]},"`` within begins; NULL when there is none."""
    cdef const char *at
    end -= 3
    while end > begin:
        at = <const char *> memrchr(begin, c']', end - begin)
        if at == NULL:
            return NULL
        if at[1] == c'}' and at[2] == c',' and at[3] == c'"':
            return at
        end = at
    return NULL


cdef const char *end_of_logprobs(const char *begin, const char *end) noexcept nogil:
    """As ``cutting._end``; NULL for -1."""
    cdef const char *first = last_next(begin, end)
    cdef const char *before = first
    while before != NULL:
        first = before
        before = last_next(begin, first + 3)
    if first == NULL:
        return NULL
    if memchr(begin, c'x', first - begin) != NULL:
        if memmem(begin, first - begin, <const char *> b'"index":', 8) != NULL:
            return NULL
    return first


def end(bytes data not None, Py_ssize_t begin, Py_ssize_t stop):
    """As ``cutting._end``: where ``]}`` ends the logprobs between the two places, or -1."""
    cdef const char *start = PyBytes_AS_STRING(data)
    cdef const char *found
    stop = min(stop, PyBytes_GET_SIZE(data))
    if begin < 0 or begin > stop:
        return -1
    found = end_of_logprobs(start + begin, start + stop)
    return -1 if found == NULL else found - start


def take(
    bytes head not None,
    bytes renamed not None,
    bytes tail not None,
    bytes kept not None,
    bytes data not None,
    Py_ssize_t at,
    list out not None,
    bint keeps_empty,
):
    """As ``cutting.Cut.take``, whose fields come first."""
    cdef const char *start = PyBytes_AS_STRING(data)
    cdef const char *stop = start + PyBytes_GET_SIZE(data)
    cdef const char *opening = PyBytes_AS_STRING(head)
    cdef const char *closing = PyBytes_AS_STRING(tail)
    cdef Py_ssize_t skip = PyBytes_GET_SIZE(head), closes = PyBytes_GET_SIZE(tail), braces
    cdef const char *begin
    cdef const char *end
    cdef const char *logprobs
    cdef const char *after
    cdef const char *place
    while stop - start - at >= skip and memcmp(start + at, opening, skip) == 0:
        begin = start + at + skip
        end = <const char *> memchr(begin, c'\n', stop - begin)
        if end == NULL:
            break
        logprobs = <const char *> memmem(begin, end - begin, <const char *> b',"logprobs":{', 13)
        if logprobs == NULL:
            break
        braces = 0
        place = begin
        while place < logprobs:
            braces += place[0] == c'{'
            place += 1
        if braces != (logprobs[-1] == c'}'):
            break
        after = last_next(logprobs, end)
        if (
            after == NULL
            or end - after < closes
            or memcmp(after, closing, closes) != 0
            or last_next(logprobs, after + 3) != NULL
            or memchr(logprobs, c'x', after - logprobs) != NULL
        ):
            after = end_of_logprobs(logprobs, end)
            if after == NULL or end - after < closes or memcmp(after, closing, closes) != 0:
                break
        place = <const char *> memchr(after + closes, c']', end - after - closes)
        if place == NULL or place + 4 != end or stop - place < 6 or memcmp(place, <const char *> b']}]}\n\n', 6) != 0:
            break
        if keeps_empty or logprobs - begin < 11 or memcmp(logprobs - 11, <const char *> b',"delta":{}', 11) != 0:
            out.append(renamed)
            out.append(PyBytes_FromStringAndSize(begin, logprobs - begin))
            out.append(kept)
        at = end + 2 - start
    return at
