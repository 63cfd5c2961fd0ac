/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/control.h"
#include "core/list.h"
#include "core/world.h"

static json_t *parse_text(const char *text, struct err *err)
{
	return control_parse(text, strlen(text), err);
}

static void refused(const char *text)
{
	struct err err = {0};
	json_t *value = parse_text(text, &err);

	if (value)
		fail_msg("taken: %.60s", text);
	assert_int_not_equal(err.code, 0);
	assert_true(strlen(err.text) > 10);
}

static void parser_takes_good_json(void **state)
{
	struct err err = {0};
	json_t *value = parse_text(
	    "{\"a\":[1,2,{\"b\":\"\\u00e4[[[\\\"{{\"}],\"c\":-9223372036854775808}", &err);

	(void)state;
	assert_non_null(value);
	assert_int_equal(json_integer_value(json_object_get(value, "c")), INT64_MIN);
	json_decref(value);
}

static void parser_refuses_hostile_json(void **state)
{
	static const char *const texts[] = {
	    "{",
	    "}",
	    "nonsense",
	    "5",
	    "\"text\"",
	    "{\"a\":1,\"a\":2}",
	    "{\"a\":{\"b\":1,\"b\":1}}",
	    "{\"a\":18446744073709551616}",
	    "{\"a\":9223372036854775808}",
	    "{\"a\":1e999}",
	    "{\"a\":\"\\u0000\"}",
	    "{\"a\\u0000b\":1}",
	    "{\"a\":\"\xff\xfe\"}",
	    "{\"a\":\"\xed\xa0\x80\"}",
	    "{\"a\":1} trailing",
	    "{\"a\":01}",
	    "{\"a\":\"unterminated",
	    "{\"a\":\"\\",
	    "[1,]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		refused(texts[i]);
}

static void parser_refuses_nul_and_empty(void **state)
{
	struct err err = {0};

	(void)state;
	assert_null(control_parse("{}\0", 3, &err));
	assert_null(control_parse("", 0, &err));
	assert_null(control_parse("{}", (size_t)CONTROL_MESSAGE_MAX + 1, &err));
	assert_int_equal(err.code, -EMSGSIZE);
}

/* @depth opening brackets and as many closing ones. */
static json_t *parse_depth(unsigned depth, struct err *err)
{
	char *text = malloc(2 * depth);
	json_t *value;

	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	value = control_parse(text, 2 * depth, err);
	free(text);
	return value;
}

static void parser_bounds_depth(void **state)
{
	struct err err = {0};
	json_t *value = parse_depth(CONTROL_JSON_DEPTH_MAX, &err);

	(void)state;
	assert_non_null(value);
	json_decref(value);
	assert_null(parse_depth(CONTROL_JSON_DEPTH_MAX + 1, &err));
	assert_non_null(strstr(err.text, "deeper"));
	assert_null(parse_depth(1000000, &err));
}

static void parser_bounds_values(void **state)
{
	size_t count = (size_t)CONTROL_JSON_VALUES_MAX + 10;
	char *text = malloc(2 * count + 2);
	struct err err = {0};

	(void)state;
	text[0] = '[';
	for (size_t i = 0; i < count; i++)
		memcpy(text + 1 + 2 * i, "1,", 2);
	text[2 * count] = ']';
	assert_null(control_parse(text, 2 * count + 1, &err));
	assert_non_null(strstr(err.text, "values"));
	free(text);
}

/* A server on a loop in a thread of its own; every test talks to it with plain sockets. */
struct fixture {
	char dir[64], path[108];
	struct loop *loop;
	struct control_server *server;
	struct control_request *held; /* for "/later" */
	bool holds;                   /* it has come */
	struct message closing;
};

static struct fixture *closing_of(struct message *message)
{
	return container_of(message, struct fixture, closing);
}

static void serve(struct control_request *request, const json_t *message, void *context)
{
	struct fixture *fixture = context;
	const char *path = json_string_value(json_object_get(message, "path"));

	if (path && strcmp(path, "/later") == 0) {
		fixture->held = request;
		__atomic_store_n(&fixture->holds, true, __ATOMIC_RELEASE);
		return;
	}
	if (fixture->held) {
		struct control_request *held = fixture->held;

		fixture->held = NULL;
		control_reply(held, json_pack("{s:i}", "status", 202));
	}
	if (path && strcmp(path, "/large") == 0) {
		char *text = malloc(5u << 20);

		memset(text, 'x', (5u << 20) - 1);
		text[(5u << 20) - 1] = '\0';
		control_reply(request, json_pack("{s:i,s:s}", "status", 200, "body", text));
		free(text);
		return;
	}
	control_reply(request, json_pack("{s:i,s:O,s:i}", "status", 200, "body", message, "uid",
					 (int)control_request_uid(request)));
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);
	const struct world_ops *world;
	struct err err = {0};

	snprintf(fixture->dir, sizeof(fixture->dir), "%s", "/tmp/control_test.XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	snprintf(fixture->path, sizeof fixture->path, "%s/control.sock", fixture->dir);
	assert_int_equal(world_select("auto", &world, &err), 0);
	assert_int_equal(loop_create(world, &fixture->loop, &err), 0);
	assert_int_equal(control_server_open(fixture->loop, fixture->path, 0600, serve, fixture,
					     &fixture->server, &err),
			 0);
	assert_int_equal(loop_start_thread(fixture->loop, "control", &err), 0);
	*state = fixture;
	return 0;
}

static void close_server(struct message *message)
{
	control_server_close(closing_of(message)->server);
}

static int take_down(void **state)
{
	struct fixture *fixture = *state;

	loop_post(fixture->loop, &fixture->closing, close_server);
	for (unsigned i = 0; i < 60000 && access(fixture->path, F_OK) == 0; i++)
		usleep(1000);
	usleep(50000); /* its connections end on the loop's own thread */
	loop_join(fixture->loop);
	assert_int_equal(access(fixture->path, F_OK), -1);
	loop_destroy(fixture->loop);
	rmdir(fixture->dir);
	free(fixture);
	return 0;
}

static int dial(struct fixture *fixture)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct timeval limit = {.tv_sec = 60};

	memcpy(address.sun_path, fixture->path, strlen(fixture->path));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void send_all(int fd, const void *data, size_t length)
{
	assert_int_equal(send(fd, data, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* In one piece: what refuses the header may be gone before a second one is sent. */
static void send_message(int fd, const char *text, uint32_t claimed)
{
	uint32_t header = htonl(claimed);
	char whole[256];

	memcpy(whole, &header, 4);
	memcpy(whole + 4, text, strlen(text));
	send_all(fd, whole, 4 + strlen(text));
}

/* With a receive time-out EINTR is not restarted, and a thread's io_uring may interrupt us. */
static ssize_t receive_all(int fd, void *data, size_t length)
{
	size_t got = 0;

	while (got < length) {
		ssize_t part = recv(fd, (char *)data + got, length - got, 0);

		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			break;
		got += (size_t)part;
	}
	return (ssize_t)got;
}

/* The status of the next reply; -1 when the connection ended instead. */
static int next_status(int fd)
{
	uint32_t header;
	static char text[65536];
	json_t *reply;
	int status;

	if (receive_all(fd, &header, 4) != 4)
		return -1;
	assert_in_range(ntohl(header), 1, sizeof text);
	assert_int_equal(receive_all(fd, text, ntohl(header)), ntohl(header));
	reply = control_parse(text, ntohl(header), NULL);
	assert_non_null(reply);
	status = (int)json_integer_value(json_object_get(reply, "status"));
	json_decref(reply);
	return status;
}

static void good_client_is_served(struct fixture *fixture)
{
	json_t *request = json_pack("{s:s,s:s}", "method", "GET", "path", "/x"), *reply = NULL;
	struct err err = {0};

	assert_int_equal(control_call(fixture->path, request, 60000, &reply, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(reply, "status")), 200);
	assert_int_equal(json_integer_value(json_object_get(reply, "uid")), geteuid());
	assert_true(json_equal(json_object_get(reply, "body"), request));
	json_decref(reply);
	json_decref(request);
}

/* Or turned away. */
static bool is_served(struct fixture *fixture)
{
	json_t *request = json_object(), *reply = NULL;
	struct err err = {0};
	int result = control_call(fixture->path, request, 60000, &reply, &err);

	json_decref(reply);
	json_decref(request);
	return result == 0;
}

static void until_held(struct fixture *fixture)
{
	for (unsigned i = 0; i < 60000 && !__atomic_load_n(&fixture->holds, __ATOMIC_ACQUIRE); i++)
		usleep(1000);
	assert_true(fixture->holds);
}

static void call_goes_round(void **state)
{
	good_client_is_served(*state);
	good_client_is_served(*state);
}

static void socket_is_private(void **state)
{
	struct fixture *fixture = *state;
	struct stat info;

	assert_int_equal(stat(fixture->path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
}

static void pipelined_messages_are_answered_in_order(void **state)
{
	struct fixture *fixture = *state;
	int fd = dial(fixture);

	send_message(fd, "{\"n\":1}", 7);
	send_message(fd, "not json", 8);
	send_message(fd, "{\"n\":3}", 7);
	assert_int_equal(next_status(fd), 200);
	assert_int_equal(next_status(fd), 400);
	assert_int_equal(next_status(fd), 200);
	close(fd);
	good_client_is_served(fixture);
}

static void bytes_come_one_by_one(void **state)
{
	struct fixture *fixture = *state;
	int fd = dial(fixture);
	const char bytes[] = "\0\0\0\7{\"n\":1}";

	for (size_t i = 0; i < sizeof bytes - 1; i++) {
		send_all(fd, bytes + i, 1);
		usleep(1000);
	}
	assert_int_equal(next_status(fd), 200);
	close(fd);
}

static void length_lies_end_the_connection(void **state)
{
	static const uint32_t claims[] = {0, CONTROL_MESSAGE_MAX + 1, 0x80000000u, 0xffffffffu};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
		int fd = dial(fixture);

		send_message(fd, "{}", claims[i]);
		assert_int_equal(next_status(fd), -1);
		close(fd);
		good_client_is_served(fixture);
	}
}

static void client_that_leaves_does_no_harm(void **state)
{
	struct fixture *fixture = *state;
	int half = dial(fixture), early = dial(fixture), later = dial(fixture);

	send_message(half, "{\"path\":", 4000000); /* the rest never comes */
	send_message(later, "{\"path\":\"/later\"}", 17);
	until_held(fixture);
	close(half);
	close(early);
	close(later);
	usleep(50000);
	good_client_is_served(fixture); /* answers the held one too, to nobody */
}

static void later_reply_arrives(void **state)
{
	struct fixture *fixture = *state;
	int fd = dial(fixture);

	send_message(fd, "{\"path\":\"/later\"}", 17);
	until_held(fixture);
	good_client_is_served(fixture);
	assert_int_equal(next_status(fd), 202);
	close(fd);
}

static void oversized_reply_is_an_error(void **state)
{
	struct fixture *fixture = *state;
	int fd = dial(fixture);

	send_message(fd, "{\"path\":\"/large\"}", 17);
	assert_int_equal(next_status(fd), 500);
	close(fd);
}

static void connections_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	int fds[CONTROL_CONNECTIONS_MAX + 1];
	char byte;

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		fds[i] = dial(fixture);
	assert_int_equal(receive_all(fds[CONTROL_CONNECTIONS_MAX], &byte, 1), 0);
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		close(fds[i]);
	for (unsigned i = 0; i < 6000 && !is_served(fixture); i++)
		usleep(10000); /* until it has seen that they are gone */
	good_client_is_served(fixture);
}

static void nobody_there_is_said(void **state)
{
	json_t *request = json_object(), *reply;
	struct err err = {0};

	(void)state;
	assert_int_equal(control_call("/tmp/no/such/control.sock", request, 1000, &reply, &err),
			 -ENOENT);
	assert_non_null(strstr(err.text, "/tmp/no/such"));
	json_decref(request);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, take_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parser_takes_good_json),
	    cmocka_unit_test(parser_refuses_hostile_json),
	    cmocka_unit_test(parser_refuses_nul_and_empty),
	    cmocka_unit_test(parser_bounds_depth),
	    cmocka_unit_test(parser_bounds_values),
	    WITH_SERVER(call_goes_round),
	    WITH_SERVER(socket_is_private),
	    WITH_SERVER(pipelined_messages_are_answered_in_order),
	    WITH_SERVER(bytes_come_one_by_one),
	    WITH_SERVER(length_lies_end_the_connection),
	    WITH_SERVER(client_that_leaves_does_no_harm),
	    WITH_SERVER(later_reply_arrives),
	    WITH_SERVER(oversized_reply_is_an_error),
	    WITH_SERVER(connections_are_bounded),
	    cmocka_unit_test(nobody_there_is_said),
	};

	return cmocka_run_group_tests_name("core/control", tests, NULL, NULL);
}
