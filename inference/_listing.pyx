# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reads the logprobs of a chat's answer straight from its bytes into columns (inference.listing says of what
layout), and gives what is left of the answer for a decoder of JSON. For where the drain is compiled.

What it takes is JSON, and reads as a decoder would read it: tests/inference/test_listing.py compares them.

Bytes end with a zero that is not counted, and no loop goes past a zero: so one byte can always be looked at.
"""

from cython cimport final
from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

cdef extern from *:
    """
    #ifdef __SIZEOF_INT128__
    #include <stdint.h>
    #include <string.h>
    #define EXACT 1

    static const uint64_t fives[28] = {
        1ULL, 5ULL, 25ULL, 125ULL, 625ULL, 3125ULL, 15625ULL, 78125ULL, 390625ULL, 1953125ULL, 9765625ULL,
        48828125ULL, 244140625ULL, 1220703125ULL, 6103515625ULL, 30517578125ULL, 152587890625ULL,
        762939453125ULL, 3814697265625ULL, 19073486328125ULL, 95367431640625ULL, 476837158203125ULL,
        2384185791015625ULL, 11920928955078125ULL, 59604644775390625ULL, 298023223876953125ULL,
        1490116119384765625ULL, 7450580596923828125ULL,
    };

    /* digits / 10**scale, rounded once, to the nearest and to even between two. 0 < digits, scale <= 27. */
    static double divided(uint64_t digits, int scale) {
        int up = __builtin_clzll(digits), down = __builtin_clzll(fives[scale]);
        uint64_t divisor = fives[scale] << down;
        unsigned __int128 dividend = (unsigned __int128)(digits << up) << 63;
        uint64_t quotient = (uint64_t)(dividend / divisor);
        /* It has 63 or 64 bits, ten more than a double: its last one may say that there was a rest. */
        quotient |= (unsigned __int128)quotient * divisor != dividend;
        uint64_t bits = (uint64_t)(1023 - 63 - up + down - scale) << 52;
        double power;
        memcpy(&power, &bits, sizeof power);
        return (double)quotient * power;
    }

    /* The number that the next eight bytes write, or that they are not eight digits. */
    static int eight_digits(const char *at, unsigned long long *value) {
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        uint64_t found;
        memcpy(&found, at, 8);
        if ((found & 0xF0F0F0F0F0F0F0F0) != 0x3030303030303030
            || ((found + 0x0606060606060606) & 0xF0F0F0F0F0F0F0F0) != 0x3030303030303030)
            return 0;
        found -= 0x3030303030303030;
        found = found * 10 + (found >> 8);  /* In every second byte a number of two digits, and so on. */
        *value = (((found & 0x000000FF000000FF) * 0x000F424000000064)
                  + (((found >> 16) & 0x000000FF000000FF) * 0x0000271000000001)) >> 32;
        return 1;
    #else
        return 0;
    #endif
    }
    #else
    #define EXACT 0
    static int eight_digits(const char *at, unsigned long long *value) { return 0; }
    static double divided(unsigned long long digits, int scale) { return 0.0; }
    #endif
    """
    const bint EXACT
    bint eight_digits(const char *at, unsigned long long *value) noexcept nogil
    double divided(unsigned long long digits, int scale) noexcept nogil

cdef enum:
    MOST_LISTED = 256  # beside one token
    MOST_DIGITS = 18  # of an id
    MOST_SIGNIFICANT = 19  # of a number; more do not fit
    MOST_SCALE = 27

cdef double NO_PROBABILITY = -9999.0


@final
cdef class Reader:
    """One answer, being read. Its methods say whether what lies at ``at`` is of the layout, and go past it."""

    cdef const char *at
    cdef const char *end
    cdef char *left
    cdef Py_ssize_t size, count, top_k
    cdef dict found
    cdef long long ids[MOST_LISTED + 1]
    cdef double logprobs[MOST_LISTED + 1]
    cdef Py_ssize_t listed

    def __cinit__(self, bytes answer not None, Py_ssize_t top_k):
        self.at = PyBytes_AS_STRING(answer)
        self.end = self.at + PyBytes_GET_SIZE(answer)
        self.top_k = top_k
        self.found = {}
        # What is left is no longer, but for a list's brackets: null for an object, a comma for an event's ends.
        self.left = <char *> malloc(PyBytes_GET_SIZE(answer) + 2)
        if self.left == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.left)

    cdef inline bint passes(self, const char *what, Py_ssize_t size) noexcept:
        """Whether it goes on with these bytes."""
        if self.end - self.at < size or memcmp(self.at, what, size) != 0:
            return False
        self.at += size
        return True

    cdef inline void keep(self, const char *begin, Py_ssize_t size) noexcept:
        memcpy(self.left + self.size, begin, size)
        self.size += size

    cdef bint body(self) except -1:
        if not self.message():
            return False
        while self.at[0] in (c' ', c'\n', c'\r', c'\t'):
            self.at += 1
        self.count = 1
        return self.at == self.end

    cdef bint stream(self) except -1:
        """Its events, as a list. One that was cut off is no event."""
        cdef const char *stop = self.end
        cdef const char *line
        if memchr(self.at, c'\r', stop - self.at) != NULL:
            return False
        self.keep(b'[', 1)
        while self.at < stop:
            line = <const char *> memchr(self.at, c'\n', stop - self.at)
            if line == NULL or line + 1 == stop:
                break
            if line[1] != c'\n' or not self.passes(b'data: ', 6):
                return False
            if line - self.at != 6 or memcmp(self.at, <const char *> b'[DONE]', 6) != 0:
                if self.count:
                    self.keep(b',', 1)
                self.end = line
                if not self.message() or self.at != line:
                    return False
                self.end = stop
                self.count += 1
            self.at = line + 2
        self.keep(b']', 1)
        return True

    cdef bint message(self) except -1:
        """An object, whose choices' logprobs are taken out of what is left."""
        cdef const char *kept = self.at
        cdef const char *begin
        cdef const char *after
        cdef Py_ssize_t depth = 0
        cdef long long index = -1
        cdef bint has_choices = False, in_choices = False, has_logprobs = False
        if self.at[0] != c'{':
            return False
        while self.at < self.end:
            if self.at[0] == c'"':
                begin = self.at + 1
                if not self.string():
                    return False
                if depth != 1 and not (in_choices and depth == 3):
                    continue
                if self.at[0] in (c' ', c'\n', c'\r', c'\t'):
                    return False  # it may be a name all the same
                if self.at[0] != c':':
                    continue
                after = self.at
                self.at += 1
                if memchr(begin, c'\\', after - begin) != NULL:
                    return False
                if depth == 1:
                    if after - begin == 8 and memcmp(begin, <const char *> b'choices"', 8) == 0:
                        if has_choices or self.at[0] not in (c'[', c'n'):
                            return False
                        has_choices, in_choices = True, self.at[0] == c'['
                elif after - begin == 6 and memcmp(begin, <const char *> b'index"', 6) == 0:
                    if index >= 0 or has_logprobs or not self.whole(&index, 9):
                        return False
                    if self.at[0] not in (c',', c'}'):
                        return False
                elif after - begin == 9 and memcmp(begin, <const char *> b'logprobs"', 9) == 0:
                    if has_logprobs or index < 0:
                        return False
                    has_logprobs = True
                    if self.at[0] == c'n':
                        continue
                    self.keep(kept, self.at - kept)
                    if not self.content(index):
                        return False
                    self.keep(b'null', 4)  # Not before: only then is what it stands for known to be longer.
                    kept = self.at
                continue
            if self.at[0] == c'{' or self.at[0] == c'[':
                depth += 1
                if depth == 3:
                    index, has_logprobs = -1, False
            elif self.at[0] == c'}' or self.at[0] == c']':
                depth -= 1
                in_choices = in_choices and depth > 1
                if depth == 0:
                    self.at += 1
                    self.keep(kept, self.at - kept)
                    return True
            self.at += 1
        return False

    cdef bint string(self) noexcept:
        """Past the string that begins here. A quote behind an odd number of backslashes is its own."""
        cdef const char *quote = self.at
        cdef const char *back
        while True:
            quote = <const char *> memchr(quote + 1, c'"', self.end - quote - 1)
            if quote == NULL:
                return False
            back = quote
            while (back - 1)[0] == c'\\':
                back -= 1
            if (quote - back) % 2 == 0:
                self.at = quote + 1
                return True

    cdef bint content(self, long long index) except -1:
        """All positions of a choice's logprobs, into its columns."""
        cdef list ids, sampled, tops, logprobs, offsets
        cdef long long token = 0
        cdef double logprob = 0.0
        if not self.passes(b'{"content":[', 12):
            return False
        if self.passes(b']}', 2):
            return True
        if index not in self.found:
            self.found[index] = ([], [], [], [], [0])
        ids, sampled, tops, logprobs, offsets = self.found[index]
        while True:
            if not self.token(&token, &logprob, False) or not self.passes(b',"top_logprobs":[', 17):
                return False
            self.listed = 0
            if not self.passes(b']', 1):
                while True:
                    if self.listed == MOST_LISTED:
                        return False
                    if not self.token(self.ids + self.listed, self.logprobs + self.listed, True):
                        return False
                    self.listed += 1
                    if not self.passes(b'},', 2):
                        break
                if not self.passes(b'}]', 2):
                    return False
            ids.append(token)
            sampled.append(logprob)
            self.rank(token, logprob, tops, logprobs)
            offsets.append(len(tops))
            if not self.passes(b'},', 2):
                return self.passes(b'}]}', 3)

    cdef bint token(self, long long *token, double *logprob, bint is_listed) noexcept:
        """A token's name, its logprob, and its bytes where there are any."""
        if not self.passes(b'{"token":"token_id:', 19) or not self.whole(token, MOST_DIGITS):
            return False
        if not self.passes(b'","logprob":', 12) or not self.number(logprob):
            return False
        if logprob[0] <= NO_PROBABILITY:
            logprob[0] = -INFINITY
        if not self.passes(b',"bytes":', 9):
            return True
        if self.passes(b'null', 4):
            return True
        # Those of its name.
        if is_listed and self.passes(b'[116,111,107,101,110,95,105,100,58,', 35):
            return self.wholes()
        return self.passes(b'[', 1) and (self.passes(b']', 1) or self.wholes())

    cdef bint wholes(self) noexcept:
        """Whole numbers, at least one, and the bracket that ends them."""
        cdef const char *at = self.at
        while True:
            if at[0] == c'0':
                at += 1
            elif c'1' <= at[0] <= c'9':
                at += 1
                while c'0' <= at[0] <= c'9':
                    at += 1
            else:
                return False
            if at[0] == c']':
                self.at = at + 1
                return True
            if at[0] != c',':
                return False
            at += 1

    cdef bint whole(self, long long *value, Py_ssize_t most) noexcept:
        """A whole number of so many digits at most, none of them a needless zero."""
        cdef const char *begin = self.at
        value[0] = 0
        while c'0' <= self.at[0] <= c'9' and self.at - begin < most:
            value[0] = value[0] * 10 + (self.at[0] - c'0')
            self.at += 1
        if self.at == begin or c'0' <= self.at[0] <= c'9':
            return False
        return begin[0] != c'0' or self.at - begin == 1

    cdef bint number(self, double *value) noexcept:
        """A number with a fraction or a negative exponent, which a double is made of exactly."""
        cdef const char *at = self.at
        cdef const char *begin
        cdef unsigned long long digits = 0, eight = 0
        cdef int significant = 0, scale = 0, exponent = 0
        cdef bint negative = at[0] == c'-'
        at += negative
        begin = at
        while c'0' <= at[0] <= c'9' and significant <= MOST_SIGNIFICANT:
            digits = digits * 10 + (at[0] - c'0')
            significant += significant > 0 or at[0] != c'0'
            at += 1
        if at == begin or (begin[0] == c'0' and at - begin > 1):
            return False
        if at[0] == c'.':
            at += 1
            begin = at
            while c'0' <= at[0] <= c'9' and significant <= MOST_SIGNIFICANT and scale <= MOST_SCALE:
                if 0 < significant <= MOST_SIGNIFICANT - 8 and self.end - at >= 8 and eight_digits(at, &eight):
                    digits = digits * 100_000_000 + eight
                    significant, scale = significant + 8, scale + 8
                    at += 8
                    continue
                digits = digits * 10 + (at[0] - c'0')
                significant += significant > 0 or at[0] != c'0'
                scale += 1
                at += 1
            if at == begin:
                return False
        elif at[0] != c'e':
            return False
        if at[0] == c'e':
            if at[1] != c'-' or not c'0' <= at[2] <= c'9':
                return False
            at += 2
            while c'0' <= at[0] <= c'9' and exponent <= MOST_SCALE:
                exponent = exponent * 10 + (at[0] - c'0')
                at += 1
            scale += exponent
        if significant > MOST_SIGNIFICANT or scale > MOST_SCALE:
            return False
        value[0] = divided(digits, scale) if digits else 0.0
        if negative:
            value[0] = -value[0]
        self.at = at
        return True

    cdef int rank(self, long long token, double logprob, list tops, list values) except -1:
        """The first of those listed, as ``ranking.rank`` has them."""
        cdef Py_ssize_t count = 0, at, place
        cdef long long one
        cdef double value, least = INFINITY
        if self.top_k == 0:
            return 0
        for at in range(self.listed):
            if self.ids[at] != token:
                least = min(least, self.logprobs[at])
                count += 1
        # From behind, so that there is room for the sampled one before them.
        place = self.listed
        for at in range(self.listed - 1, -1, -1):
            if self.ids[at] != token:
                self.ids[place], self.logprobs[place] = self.ids[at], self.logprobs[at]
                place -= 1
        if count == 0 or logprob >= least:
            self.ids[place], self.logprobs[place] = token, logprob
            place -= 1
            count += 1
        place += 1
        for at in range(place + 1, place + count):
            one, value = self.ids[at], self.logprobs[at]
            while at > place and self.logprobs[at - 1] < value:
                self.ids[at], self.logprobs[at] = self.ids[at - 1], self.logprobs[at - 1]
                at -= 1
            self.ids[at], self.logprobs[at] = one, value
        for at in range(place, place + min(count, self.top_k)):
            tops.append(self.ids[at])
            values.append(self.logprobs[at])
        return 0


def read(bytes answer not None, Py_ssize_t top_k):
    """As ``listing.read``, in a tuple."""
    cdef Reader reader
    if not EXACT or top_k < 0:
        return None
    reader = Reader(answer, top_k)
    if answer.startswith(b'{'):
        if not reader.body():
            return None
    elif not answer.startswith(b'data: ') or not reader.stream():
        return None
    return PyBytes_FromStringAndSize(reader.left, reader.size), reader.count, reader.found
