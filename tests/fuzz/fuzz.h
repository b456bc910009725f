/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Shared by the fuzzers: REQUIRE, which stops the fuzzer if a claim is false, and copies of the
 * input in buffers of exactly its size, so that AddressSanitizer reports any read beyond its end.
 */

#define REQUIRE(claim)                                                                            \
	do {                                                                                      \
		if (!(claim)) {                                                                   \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #claim); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns a copy of these bytes. The caller frees it. */
static inline char *exact_copy(const void *data, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1);

	REQUIRE(copy != NULL);
	memcpy(copy, data, size);
	return copy;
}

/* Returns the input as a string, which ends at its first NUL byte. The caller frees it. */
static inline char *string_copy(const uint8_t *data, size_t size)
{
	char *copy = strndup((const char *)data, size);

	REQUIRE(copy != NULL);
	return copy;
}

#endif
