/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

/* Clients compare the version that they are told with 0.14.1, 1.x, 2.0 and 3.0 to switch features
 * on: it is that of the RootlessKit whose behaviour we have, with our own as build metadata
 * (semver.org, 10). */
#define RLKBOX_VERSION "0.1.0"
#define COMPAT_MAJOR   "3"
#define COMPAT_MINOR   "0"
#define COMPAT_PATCH   "1"
#define COMPAT_VERSION COMPAT_MAJOR "." COMPAT_MINOR "." COMPAT_PATCH "+rlkbox." RLKBOX_VERSION

#define API_VERSION "1.1.1"

#endif
