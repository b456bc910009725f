/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

/* Clients compare this version with 0.14.1, 1.x, 2.0 and 3.0 to decide which features they use. So
 * it is the version of the RootlessKit whose behaviour we have, followed by our own version as
 * build metadata (semver.org, item 10). */
#define RLKBOX_VERSION "0.1.0"
#define COMPAT_MAJOR   "3"
#define COMPAT_MINOR   "0"
#define COMPAT_PATCH   "1"
#define COMPAT_VERSION COMPAT_MAJOR "." COMPAT_MINOR "." COMPAT_PATCH "+rlkbox." RLKBOX_VERSION

/* The version of the REST API, which RootlessKit 3.0.1 reports, too. */
#define API_VERSION "1.1.1"

#endif
