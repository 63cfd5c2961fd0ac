/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

/* The one kind of error: a negative errno for control flow, a sentence for people.
 * Code never reads the text; people never need the number. */

struct err {
	int code;       /* negative errno, 0 = none */
	char text[500]; /* one sentence, without a final full stop or newline */
};

/* err_set: record @code (a negative errno) and the sentence in @err.
 * Context: any. @err may be NULL (the caller does not want the text).
 * Returns @code, so that `return err_set(err, -EINVAL, "...")` reads well. */
int err_set(struct err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* err_wrap: put "context: " before the text that is there. Once per layer.
 * Returns err->code (0 when @err is NULL or holds no error). */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
