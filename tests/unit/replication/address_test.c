/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "replication/address.h"

static void addresses(void **state)
{
	static const struct {
		const char *text, *again;
		int family;
		unsigned prefix;
	} good[] = {
	    {"192.0.2.10/24", "192.0.2.10/24", AF_INET, 24},
	    {"10.0.0.1/32", "10.0.0.1/32", AF_INET, 32},
	    {"2001:DB8:0::10/64", "2001:db8::10/64", AF_INET6, 64},
	    {"fd77::10/128", "fd77::10/128", AF_INET6, 128},
	};
	struct service_address address;
	struct err err = {0};
	char text[ADDRESS_TEXT];

	(void)state;
	for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(address_parse(good[i].text, NULL, &address, &err), 0);
		assert_int_equal(address.family, good[i].family);
		assert_int_equal(address.prefix, good[i].prefix);
		address_print(&address, text);
		assert_string_equal(text, good[i].again);
	}
	assert_int_equal(address_parse("10.0.0.1/8", "eth0.17", &address, &err), 0);
	assert_string_equal(address.interface, "eth0.17");
}

static void what_is_none(void **state)
{
	static const char *const bad[] = {
	    "",
	    "192.0.2.10",
	    "192.0.2.10/",
	    "192.0.2.10/0",
	    "192.0.2.10/33",
	    "192.0.2.10/-1",
	    "192.0.2.10/ 24",
	    "192.0.2.10/24x",
	    "192.0.2/24",
	    "0.0.0.0/24",
	    "127.0.0.1/8",
	    "224.0.0.1/24",
	    "255.255.255.255/32",
	    "::/64",
	    "fe80::1/64",
	    "ff02::1/64",
	    "2001:db8::1/129",
	    "2001:db8::1/18446744073709551680",
	    "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee/64",
	};
	struct service_address address = {.family = 77};
	struct err err = {0};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(address_parse(bad[i], NULL, &address, &err), -EINVAL);
	assert_int_equal(address_parse("10.0.0.1/8", "a-name-that-is-too-long", &address, &err),
			 -EINVAL);
	assert_int_equal(address.family, 77);
}

static const uint8_t mac[6] = {2, 0, 0x5e, 1, 2, 3};

static void arp_says_whose_it_is(void **state)
{
	static const uint8_t ip[4] = {192, 0, 2, 10};
	static const uint8_t request[ADDRESS_ARP] = {0,    1, 8, 0, 6,   4, 0, 1,  2, 0,
						     0x5e, 1, 2, 3, 192, 0, 2, 10, 0, 0,
						     0,    0, 0, 0, 192, 0, 2, 10};
	uint8_t frame[ADDRESS_ARP];

	(void)state;
	address_arp(ip, mac, false, frame);
	assert_memory_equal(frame, request, sizeof frame);
	address_arp(ip, mac, true, frame);
	assert_int_equal(frame[7], 2);
	assert_memory_equal(frame + 24, ip, 4);
	for (unsigned i = 18; i < 24; i++)
		assert_int_equal(frame[i], 0xff);
}

static void an_advertisement_overrides(void **state)
{
	static const uint8_t ip[16] = {0x20, 1, 0xd, 0xb8, [15] = 0x10};
	uint8_t message[ADDRESS_ADVERTISEMENT];

	(void)state;
	address_advertisement(ip, mac, message);
	assert_int_equal(message[0], 136);
	assert_int_equal(message[1], 0);
	assert_int_equal(message[4], 0x20); /* override; neither router nor solicited */
	assert_memory_equal(message + 8, ip, 16);
	assert_int_equal(message[24], 2);
	assert_int_equal(message[25], 1);
	assert_memory_equal(message + 26, mac, 6);
}

static int without_privileges(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};
	struct err err = {0};

	if (syscall(SYS_capset, &header, none) < 0 || address_may(&err) != -EPERM)
		return 1;
	return strstr(err.text, "CAP_NET_ADMIN") ? 0 : 2;
}

static void privileges_are_asked_for(void **state)
{
	pid_t child = fork();
	int status = 0;

	(void)state;
	if (child == 0)
		_exit(without_privileges());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void no_such_interface(void **state)
{
	struct service_address address;
	struct err err = {0};

	(void)state;
	assert_int_equal(address_parse("198.51.100.77/32", "no-such-one", &address, &err), 0);
	assert_int_equal(address_set(&address, &err), -ENODEV);
	assert_int_equal(address_announce(&address, &err), -ENODEV);
	assert_int_equal(address_parse("198.51.100.77/32", NULL, &address, &err), 0);
	assert_int_equal(address_clear(&address, &err), -ENODEV);
	assert_false(address_is_here(&address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(what_is_none),
	    cmocka_unit_test(arp_says_whose_it_is),
	    cmocka_unit_test(an_advertisement_overrides),
	    cmocka_unit_test(privileges_are_asked_for),
	    cmocka_unit_test(no_such_interface),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
