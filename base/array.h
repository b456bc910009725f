/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARRAY_H
#define BASE_ARRAY_H

/* The number of elements of an array. Do not use it on a pointer. */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
