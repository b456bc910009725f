/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARRAY_H
#define ARRAY_H

/* The number of elements of an array. Not for a pointer. */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
