/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* The reason of a failure, for people.
 *
 * A `struct err` is filled where something goes wrong, gets context in front of it on the way up,
 * may travel from child to parent to a client of the API, and is printed once, at the edge. It has
 * a fixed size, so that failing never needs memory; a text that does not fit is cut.
 * A null pointer is accepted on_all_workers: the caller does not want the reason.
 */

#define ERR_LEN 1024 /* bytes with the final NUL: the longest advice behind a reason */

struct err {
	char msg[ERR_LEN];
};

/* Sets the reason to a formatted text. Returns -code, so that `return err_set(e, EINVAL, ...)`. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sets the reason to "TEXT: " and the system's words for `errnum`. Returns -errnum. */
int err_sys(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "TEXT: " in front of the reason that is there already. */
void err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts TEXT behind the reason that is there already. */
void err_add(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts the way out behind the reason if `errnum` says that the file system of the state directory
 * is full (ENOSPC, EDQUOT). */
void err_add_room(struct err *e, int errnum);

/* The words for an error number, beginning with a small letter, as clients expect them ("address
 * already in use"). Writes to and returns `buf`. */
const char *err_text(int errnum, char *buf, int len);

#endif
