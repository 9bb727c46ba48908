# cython: language_level=3, boundscheck=False, wraparound=False
"""The searches of inference.cutting in C, for where the hot path is compiled (deploy/compiling.py).

They give what their namesakes in Python give, on any bytes: tests/inference/test_compiled.py compares them.
"""

from libc.string cimport memchr, memcmp, memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from "string.h" nogil:
    void *memmem(const void *where, size_t size, const void *what, size_t length)

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GLIBC__)
    __attribute__((target_clones("avx2", "default")))
    #endif
    static const char *next_name(const char *at, const char *stop) {
        /* Two of the four bytes at once: hardly any other place has both, and a compiler makes vectors of it. */
        for (; stop - at >= 64 + 3; at += 64) {
            unsigned char both = 0;
            for (int i = 0; i < 64; i++)
                both |= (at[i] == ']') & (at[i + 3] == '"');
            for (int i = 0; both && i < 64; i++)
                if (at[i] == ']' && at[i + 1] == '}' && at[i + 2] == ',' && at[i + 3] == '"')
                    return at + i;
        }
        for (; stop - at >= 4; at++)
            if (at[0] == ']' && at[1] == '}' && at[2] == ',' && at[3] == '"')
                return at;
        return NULL;
    }
    """
    const char *next_name(const char *at, const char *stop) noexcept nogil


cdef const char *end_of_logprobs(const char *begin, const char *end) noexcept nogil:
    """As ``cutting._end``; NULL for -1."""
    cdef const char *first = next_name(begin, end)
    if first == NULL:
        return NULL
    if memchr(begin, c'x', first - begin) != NULL:
        if memmem(begin, first - begin, <const char *> b'"index":', 8) != NULL:
            return NULL
    return first


cdef bytes room(Py_ssize_t size):
    """For an answer with nulls in it: one may be two bytes longer than what it stands for, beside ten that stay."""
    return PyBytes_FromStringAndSize(NULL, size + size // 4)


cdef char *added(char *to, const char *begin, const char *end) noexcept nogil:
    """What stands after a piece that was copied, and ``null`` behind it."""
    memcpy(to, begin, end - begin)
    memcpy(to + (end - begin), <const char *> b"null", 4)
    return to + (end - begin) + 4


def without_logprobs(bytes answer not None):
    """As ``cutting.without_logprobs``."""
    cdef const char *at = PyBytes_AS_STRING(answer)
    cdef const char *stop = at + PyBytes_GET_SIZE(answer)
    cdef const char *begin
    cdef const char *end
    cdef bytes made = room(stop - at)
    cdef char *start = PyBytes_AS_STRING(made)
    cdef char *to = start
    while True:
        begin = <const char *> memmem(at, stop - at, <const char *> b'"logprobs":{', 12)
        if begin == NULL:
            break
        begin += 11
        end = end_of_logprobs(begin, stop)
        if end == NULL or stop - end < 2 + 17 or memcmp(end + 2, <const char *> b',"finish_reason":', 17) != 0:
            return None
        to = added(to, at, begin)
        at = end + 2
    memcpy(to, at, stop - at)
    to += stop - at
    at = start
    while True:
        at = <const char *> memmem(at, to - at, <const char *> b'"logprobs":', 11)
        if at == NULL:
            return made[: to - start]
        at += 11
        if to - at < 4 or memcmp(at, <const char *> b"null", 4) != 0:
            return None


def without_ids(bytes answer not None):
    """As ``cutting.without_ids``."""
    cdef const char *start = PyBytes_AS_STRING(answer)
    cdef const char *at = start
    cdef const char *stop = at + PyBytes_GET_SIZE(answer)
    cdef const char *name
    cdef const char *begin = start
    cdef const char *end
    cdef bytes made = room(stop - start)
    cdef char *to = PyBytes_AS_STRING(made)
    while True:
        name = <const char *> memmem(begin, stop - begin, <const char *> b'token_ids":', 11)
        if name == NULL:
            memcpy(to, at, stop - at)
            to += stop - at
            return made[: to - PyBytes_AS_STRING(made)]
        begin = name + 11
        if not (name > start and name[-1] == c'"'):
            if name - start < 8 or memcmp(name - 8, <const char *> b'"prompt_', 8) != 0:
                continue
        if stop - begin >= 4 and memcmp(begin, <const char *> b"null", 4) == 0:
            continue
        if begin == stop or begin[0] != c'[':
            return None
        end = begin + 1
        while end < stop and (c'0' <= end[0] <= c'9' or end[0] == c','):
            end += 1
        if end == stop or end[0] != c']':
            return None
        to = added(to, at, begin)
        at = begin = end + 1


def end(bytes data not None, Py_ssize_t begin, Py_ssize_t stop):
    """As ``cutting._end``: where ``]}`` ends the logprobs between the two places, or -1."""
    cdef const char *start = PyBytes_AS_STRING(data)
    cdef const char *found
    stop = min(stop, PyBytes_GET_SIZE(data))
    if begin < 0 or begin > stop:
        return -1
    found = end_of_logprobs(start + begin, start + stop)
    return -1 if found == NULL else found - start


cdef enum:
    MOST = 256


cdef struct Piece:
    const char *begin
    Py_ssize_t size


cdef struct Layout:
    const char *head
    Py_ssize_t skip
    const char *tail
    Py_ssize_t closes


cdef void add(list out, bytes before, bytes after, const Piece *pieces, int count):
    """Append what is left of events: each piece with what goes before it and after it, all in one."""
    cdef Py_ssize_t size = count * (PyBytes_GET_SIZE(before) + PyBytes_GET_SIZE(after))
    cdef int at
    cdef bytes made
    cdef char *to
    if count == 0:
        return
    for at in range(count):
        size += pieces[at].size
    made = PyBytes_FromStringAndSize(NULL, size)
    to = PyBytes_AS_STRING(made)
    for at in range(count):
        memcpy(to, PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before))
        to += PyBytes_GET_SIZE(before)
        memcpy(to, pieces[at].begin, pieces[at].size)
        to += pieces[at].size
        memcpy(to, PyBytes_AS_STRING(after), PyBytes_GET_SIZE(after))
        to += PyBytes_GET_SIZE(after)
    out.append(made)


cdef const char *cut_events(
    const Layout *layout, const char *at, const char *stop, bint keeps_empty, Piece *pieces, int *count
) noexcept nogil:
    """What stays of the events from ``at`` on, while there is room for it; gives where it stopped."""
    cdef Py_ssize_t braces
    cdef const char *begin
    cdef const char *end
    cdef const char *logprobs
    cdef const char *after
    cdef const char *place
    while count[0] < MOST and stop - at >= layout.skip and memcmp(at, layout.head, layout.skip) == 0:
        begin = at + layout.skip
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
        after = end_of_logprobs(logprobs, end)
        if after == NULL or end - after < layout.closes or memcmp(after, layout.tail, layout.closes) != 0:
            break
        place = <const char *> memchr(after + layout.closes, c']', end - after - layout.closes)
        if place == NULL or place + 4 != end or stop - place < 6 or memcmp(place, <const char *> b']}]}\n\n', 6) != 0:
            break
        if keeps_empty or logprobs - begin < 11 or memcmp(logprobs - 11, <const char *> b',"delta":{}', 11) != 0:
            pieces[count[0]].begin, pieces[count[0]].size = begin, logprobs - begin
            count[0] += 1
        at = end + 2
    return at


cdef const char *renamed_events(
    const Layout *layout, const char *at, const char *stop, Piece *pieces, int *count
) noexcept nogil:
    """The same where only the head changes."""
    cdef const char *begin
    cdef const char *end
    while count[0] < MOST and stop - at >= layout.skip and memcmp(at, layout.head, layout.skip) == 0:
        begin = at + layout.skip
        end = <const char *> memchr(begin, c'\n', stop - begin)
        if end == NULL or stop - end < 2 or end[1] != c'\n':
            break
        if memmem(begin, end - begin, <const char *> b'"finish_reason":null', 20) == NULL:
            break
        if memmem(begin, end - begin, <const char *> b'"finish_reason":"', 17) != NULL:
            break
        pieces[count[0]].begin, pieces[count[0]].size = begin, end + 2 - begin
        count[0] += 1
        at = end + 2
    return at


cdef const char *events(
    const Layout *layout, const char *at, const char *stop, bint keeps_empty, Piece *pieces, int *count
) noexcept nogil:
    """A layout without a tail only renames."""
    if layout.closes:
        return cut_events(layout, at, stop, keeps_empty, pieces, count)
    return renamed_events(layout, at, stop, pieces, count)


cdef Py_ssize_t taken(
    bytes head, bytes renamed, bytes tail, bytes kept, bytes data, Py_ssize_t begin, list out, bint keeps_empty
):
    cdef Layout layout = Layout(
        PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head), PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail)
    )
    cdef const char *start = PyBytes_AS_STRING(data)
    cdef const char *stop = start + PyBytes_GET_SIZE(data)
    cdef const char *at = start + begin
    cdef Piece pieces[MOST]
    cdef int count = MOST
    while count == MOST:
        count = 0
        at = events(&layout, at, stop, keeps_empty, pieces, &count)
        add(out, renamed, kept, pieces, count)
    return at - start


cdef Py_ssize_t taken_all(
    bytes head, bytes renamed, bytes tail, bytes kept, list parts, Py_ssize_t at, list out
):
    cdef Layout layout = Layout(
        PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head), PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail)
    )
    cdef const char *start
    cdef Py_ssize_t size
    cdef bytes part
    cdef Piece pieces[MOST]
    cdef int count = 0, before
    while at < len(parts):
        part = parts[at]
        start, size = PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part)
        if count > MOST // 2:
            add(out, renamed, kept, pieces, count)
            count = 0
        before = count
        if memchr(start, c'\r', size) != NULL or events(&layout, start, start + size, False, pieces, &count) != start + size:
            count = before
            break
        at += 1
    add(out, renamed, kept, pieces, count)
    return at


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
    """As ``cutting.Cut.take``, whose fields come first; what it appends is in fewer pieces."""
    return taken(head, renamed, tail, kept, data, at, out, keeps_empty)


def take_all(
    bytes head not None,
    bytes renamed not None,
    bytes tail not None,
    bytes kept not None,
    list parts not None,
    Py_ssize_t at,
    list out not None,
):
    """As ``cutting.Cut.take_all``."""
    return taken_all(head, renamed, tail, kept, parts, at, out)


def renamed(
    bytes head not None, bytes public not None, bytes data not None, Py_ssize_t at, list out not None
):
    """As ``cutting.Renaming.take``, whose fields come first."""
    return taken(head, public, b"", b"", data, at, out, False)


def renamed_all(
    bytes head not None, bytes public not None, list parts not None, Py_ssize_t at, list out not None
):
    """As ``cutting.Renaming.take_all``."""
    return taken_all(head, public, b"", b"", parts, at, out)
