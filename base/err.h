/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* The reason for a failure, as text for a person.
 *
 * The function that detects the failure sets a `struct err`. Callers put context in front of the
 * reason on the way up. The reason may travel from the child to the parent and on to an API client,
 * and only the last caller prints it. Its size is fixed, so reporting a failure never allocates; a
 * text that does not fit is cut. Every function accepts a null pointer: then the caller does not
 * want the reason. Nothing here blocks, and any thread may call it on its own `struct err`.
 */

#define ERR_LEN 1024 /* bytes with the final NUL; fits the longest reason with its advice */

struct err {
	char msg[ERR_LEN];
};

/* Sets the reason to a formatted text. Returns -code, for `return err_set(e, EINVAL, ...);`. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sets the reason to "TEXT: WORDS", where WORDS is err_text() of `errnum`. Returns -errnum. */
int err_sys(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "TEXT: " in front of the reason. */
void err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends TEXT to the reason. */
void err_add(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For a failure to make something in the state directory. If `r`, an -errno, says that the file
 * system is full (ENOSPC, EDQUOT), appends advice on how to get more room. Returns `r`. */
int err_add_room(struct err *e, int r);

/* Writes the words for an error number to buf[len], in lower case ("address already in use"), and
 * returns `buf`. Common errors have Go's words with every libc, because clients search for
 * them. */
const char *err_text(int errnum, char *buf, int len);

#endif
