/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the fuzzers share: a claim that stops the fuzzer where it does not hold, and input in
 * buffers of exactly its size, so that AddressSanitizer sees each byte read beyond it.
 */

#define REQUIRE(claim)                                                                            \
	do {                                                                                      \
		if (!(claim)) {                                                                   \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #claim); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The caller frees it. */
static inline char *exact_copy(const void *data, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1);

	REQUIRE(copy != NULL);
	memcpy(copy, data, size);
	return copy;
}

/* Ends at the first NUL of the input, if there is one. The caller frees it. */
static inline char *string_copy(const uint8_t *data, size_t size)
{
	char *copy = strndup((const char *)data, size);

	REQUIRE(copy != NULL);
	return copy;
}

#endif
