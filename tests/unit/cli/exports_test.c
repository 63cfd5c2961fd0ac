/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/exports.h"

/* exports(5) files to rules: what is taken as written, what is refused and with which line. */

/* As compact JSON. */
static void gives(const char *text, const char *wanted)
{
	struct err err = {0};
	json_t *entries = exports_parse(text, &err);
	json_t *right = json_loads(wanted, 0, NULL);
	char *shown;

	if (!entries)
		fail_msg("%s: %s", text, err.text);
	assert_non_null(right);
	shown = json_dumps(entries, JSON_COMPACT);
	if (!json_equal(entries, right))
		fail_msg("%s gives %s", text, shown);
	free(shown);
	json_decref(entries);
	json_decref(right);
}

static void refused(const char *text, const char *why)
{
	struct err err = {0};
	json_t *entries = exports_parse(text, &err);

	if (entries)
		fail_msg("taken: %s", text);
	if (!strstr(err.text, why))
		fail_msg("%s: %s", text, err.text);
}

#define RULE(client, ro, insecure, squash, uid, gid)                                               \
	"{\"client\":\"" client "\",\"read_only\":" #ro ",\"insecure\":" #insecure                 \
	",\"squash\":\"" squash "\",\"anon_uid\":" #uid ",\"anon_gid\":" #gid "}"

static void taken(void **state)
{
	(void)state;
	gives("", "[]");
	gives("# nothing\n\n   \t\n", "[]");
	gives("/vms *(rw,sync,no_root_squash)",
	      "[{\"name\":\"vms\",\"rules\":[" RULE("*", false, false, "none", 65534, 65534) "]}]");
	gives("/iso *",
	      "[{\"name\":\"iso\",\"rules\":[" RULE("*", true, false, "root", 65534, 65534) "]}]");
	gives("/iso (ro,insecure)\n",
	      "[{\"name\":\"iso\",\"rules\":[" RULE("*", true, true, "root", 65534, 65534) "]}]");
	gives("/a 10.0.0.0/8(rw) \\\n  fd00::/8(ro) # both\n/a 10.1.2.3",
	      "[{\"name\":\"a\",\"rules\":[" RULE(
		  "10.0.0.0/8", false, false, "root", 65534,
		  65534) "," RULE("fd00::/8", true, false, "root", 65534,
				  65534) "," RULE("10.1.2.3", true, false, "root", 65534,
						  65534) "]}]");
	gives("/a 192.168.7.0/255.255.255.0(rw,all_squash,anonuid=36,anongid=36)\r\n",
	      "[{\"name\":\"a\",\"rules\":[" RULE("192.168.7.0/24", false, false, "all", 36,
						  36) "]}]");
	gives("\"/srv/long name\" *(rw,anonuid=-2)\n",
	      "[{\"name\":\"long name\",\"path\":\"/srv/long name\",\"rules\":[" RULE(
		  "*", false, false, "root", 4294967294, 65534) "]}]");
	gives("/a server-1.example.com(rw)",
	      "[{\"name\":\"a\",\"rules\":[" RULE("server-1.example.com", false, false, "root",
						  65534, 65534) "]}]");
	gives("/srv/a\\040b/ *(rw)", "[{\"name\":\"a b\",\"path\":\"/srv/a b\",\"rules\":[" RULE(
					 "*", false, false, "root", 65534, 65534) "]}]");
	gives("/a -rw,no_root_squash 10.0.0.1 10.0.0.2(ro,root_squash)",
	      "[{\"name\":\"a\",\"rules\":[" RULE("10.0.0.1", false, false, "none", 65534,
						  65534) "," RULE("10.0.0.2", true, false, "root",
								  65534, 65534) "]}]");
	gives("/a *(xprtsec=none:tls:mtls) 10.0.0.1(xprtsec=tls:mtls) 10.0.0.2(xprtsec=mtls)",
	      "[{\"name\":\"a\",\"rules\":[" RULE("*", true, false, "root", 65534, 65534) "," RULE(
		  "10.0.0.1\",\"security\":\"tls", true, false, "root", 65534,
		  65534) "," RULE("10.0.0.2\",\"security\":\"mtls", true, false, "root", 65534,
				  65534) "]}]");
	gives("/a *(rw,all_squash,no_root_squash,no_subtree_check,fsid=0,sec=sys)",
	      "[{\"name\":\"a\",\"rules\":[" RULE("*", false, false, "all", 65534, 65534) "]}]");
}

static void not_taken(void **state)
{
	char long_word[3000];

	(void)state;
	refused("/a", "line 1: nobody");
	refused("\n/a -rw\n", "line 2: nobody");
	refused("a *(rw)", "no path");
	refused("/ *(rw)", "no path");
	refused("// *(rw)", "no path");
	refused("/a *(rw,nosuch)", "nosuch");
	refused("/a *(rw,sec=krb5p)", "sec=krb5p");
	refused("/a *(rw,xprtsec=ssl)", "xprtsec=ssl");
	refused("/a *(rw,xprtsec=tls:)", "xprtsec=tls:");
	refused("/a *(rw,anonuid=x)", "anonuid=x");
	refused("/a *(rw,anongid=)", "anongid=");
	refused("/a *(rw,anonuid=4294967296)", "anonuid");
	refused("/a *(rw", "bracket");
	refused("/a *(rw))(", "bracket");
	refused("/a *rw)", "not looked up");
	refused("/a 10.0.0.1 (rw)", "blank");
	refused("\n\n/a server_example.com(rw)", "line 3: no address");
	refused("/a 10.0.0(rw)", "line 1: no address");
	refused("/a *.example.com(rw)", "not looked up");
	refused("/a @group(rw)", "not looked up");
	refused("/a 10.0.0.0/33(rw)", "no network");
	refused("/a 10.0.0.0/255.0.255.0(rw)", "no network");
	refused("/a 10.0.0.0/(rw)", "no network");
	refused("/a fd00::/129", "no network");
	refused("/a * *(rw)", "twice");
	refused("/a *\n/a *(rw)", "line 2: this path");
	refused("/x/a *\n/y/a *", "same name");
	refused("/a *\n/y/a *", "same name");
	refused("\"/a *(rw)\n/b *", "quotation");
	refused("/\\377\\376 *(rw)", "no path");
	memset(long_word, 'a', sizeof long_word);
	long_word[0] = '/';
	long_word[sizeof long_word - 1] = '\0';
	refused(long_word, "too long");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(taken), cmocka_unit_test(not_taken)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
