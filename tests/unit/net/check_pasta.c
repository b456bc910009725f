/* SPDX-License-Identifier: Apache-2.0 */

/* pasta's features, which its help text shows. */
#include "net/pasta.h"

#include <check.h>

#include "tests/unit/fixture.h"

#define OLD    (PASTA_STDERR | PASTA_CONFIG_NET)
#define NEW    (PASTA_HOST_LO_TO_NS_LO | PASTA_CONFIG_NET)
#define MIDDLE (OLD | NEW)

static const struct {
	const char *help;
	unsigned int features;
} helps[] = {
	{ "", 0 },
	{ "Usage: false [ignored command line arguments]\n", 0 },
	/* lines as versions from 2023 to 2026 print them */
	{ "  -e, --stderr\t\tLog to stderr too\n  --config-net\t\tConfigure tap interface in "
	  "namespace\n  --ns-mac-addr ADDR\tSet MAC address on tap interface\n",
	  OLD },
	{ "  -e, --stderr\t\tLog to stderr too\n  --host-lo-to-ns-lo\tDEPRECATED:\n"
	  "  --config-net\t\tConfigure tap interface\n",
	  MIDDLE },
	{ "  --host-lo-to-ns-lo\tTranslate host-loopback forwards to\n  --config-net\t\tConfigure",
	  NEW },
	/* versions that find no syslog print this in between */
	{ "Failed to send 41 bytes to syslog\n  --config-net\t\tConfigure\nFailed to send 50 bytes",
	  PASTA_CONFIG_NET },
	/* at the end of the text, and with a value */
	{ "--config-net", PASTA_CONFIG_NET },
	{ "--config-net=MODE", PASTA_CONFIG_NET },
	{ "--stderr, --config-net\n", OLD },
	/* longer names are other options; the shorter one may follow */
	{ "--config-network --stderr2 --host-lo-to-ns-loopback", 0 },
	{ "--config-network --config-net", PASTA_CONFIG_NET },
	{ "-config-net config-net --config -net", 0 },
};

START_TEST(features_are_read_from_the_help_text)
{
	ck_assert_uint_eq(pasta_features(helps[_i].help), helps[_i].features);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pasta");
	TCase *tc = tcase_create("features");

	tcase_add_loop_test(tc, features_are_read_from_the_help_text, 0, COUNT(helps));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
