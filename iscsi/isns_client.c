/* SPDX-License-Identifier: Apache-2.0 */
/* isns_client.c: what there is to log in to, told to an iSNS server (RFC 4171).
 *
 * A client lives on the control loop and works in rounds; between them only a timer runs:
 *   something changed   DevAttrReg with Replace: the entity, its portals, its targets with their
 *                       portal groups, all in one message. Before it DevDereg, if the target
 *                       that has spoken so far is gone: the server knows us by its name.
 *   a third of the registration period is over
 *                       DevAttrQry for the entity, which counts as a sign of life; a server that
 *                       has forgotten us is told again
 *   removed             DevDereg
 * A round connects, asks, hears and closes within LIMIT_NS. A server that is away costs a socket
 * for so long, and is tried again later and later. Nothing else waits for any of it. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "iscsi/internal.h"
#include "iscsi/isns.h"

#define ISNS_PORT  3205
#define LIMIT_NS   (10ull * 1000000000)
#define ASK_NS     (5ull * 1000000)   /* connecting has no completion: it is asked for */
#define SETTLE_NS  (200ull * 1000000) /* for more changes */
#define RETRY_NS   (5ull * 1000000000)
#define RETRY_MAX  6u  /* failures that count: 160 s at most */
#define PERIOD     300 /* seconds; asked for */
#define PERIOD_MIN 30  /* seconds; a server may want less, and does not get more messages */
#define BODY_KEPT  1024u

enum step { STEP_NONE, STEP_DEREGISTER, STEP_QUERY, STEP_REGISTER };

struct isns_client {
	struct list link; /* server->isns_clients */
	struct iscsi_server *server;
	struct iscsi_isns_options options;
	struct sockaddr_storage address, local; /* the server's; ours, as it sees us */
	struct timer timer;
	enum step step; /* of the round; STEP_NONE: none */
	int fd;         /* while it is connecting */
	struct stream *stream;
	uint64_t deadline;
	bool dirty;          /* something changed since the last registration was written */
	bool registered;     /* as far as we know */
	bool leaving, quiet; /* told to go: with a farewell; at once */
	bool farewell, over; /* the last round is on its way; nothing more comes */
	char source[SCSI_NAME_MAX + 1]; /* who has registered */
	char writing[SCSI_NAME_MAX + 1];
	unsigned failures;
	int error; /* of the round */

	/* the request */
	uint8_t *out; /* heap */
	struct stream_send send;
	bool sending;
	uint16_t xid;
	struct isns_registration registration; /* the last that was written */

	/* its answer: the first bytes of the payload are kept */
	uint8_t head[ISNS_HEADER], body[BODY_KEPT];
	struct isns_header header;
	size_t head_length, body_length;
	uint32_t left; /* of the PDU */
	bool whole;    /* it is here, and the request is not quite sent */

	/* to be shown */
	char reason[128];
	uint32_t period; /* seconds */
	uint64_t contact_ns;
	unsigned shown_targets, shown_portals;

	struct isns_esi esi;
	bool esi_said; /* that there is no listener */
};

static void round_end(struct isns_client *client, int error);
static void step_begin(struct isns_client *client, enum step step);

static void client_free_if_gone(struct isns_client *client);

/* Where the server sees us; once there is such an address. Without it we live by the period. */
static void esi_listen(struct isns_client *client)
{
	char text[INET6_ADDRSTRLEN];
	const void *address = client->local.ss_family == AF_INET6
				  ? (void *)&((struct sockaddr_in6 *)&client->local)->sin6_addr
				  : (void *)&((struct sockaddr_in *)&client->local)->sin_addr;
	struct err err = {0};

	if (client->leaving || client->esi.listener || !client->options.esi_port ||
	    !inet_ntop(client->local.ss_family, address, text, sizeof(text)))
		return;
	if (isns_esi_open(&client->esi, client->server->options.control, text,
			  client->options.esi_port, &err) < 0) {
		if (!client->esi_said)
			log_warning("iSNS: no status inquiries: %s", err.text);
		client->esi_said = true;
	}
}

static void esi_closed(struct isns_esi *esi)
{
	client_free_if_gone(container_of(esi, struct isns_client, esi));
}

/* ---- a round */

static uint8_t *make_request(struct isns_client *client, size_t *ret_length)
{
	struct isns_writer writer = {0};
	uint16_t flags = ISNS_CLIENT, function = ISNS_QUERY;

	if (client->step == STEP_REGISTER) {
		function = ISNS_REGISTER;
		flags |= ISNS_REPLACE;
		client->dirty = false;
		client->registration = (struct isns_registration){
		    .source = client->writing,
		    .entity = client->options.entity,
		    .period = PERIOD,
		    .local = (struct sockaddr *)&client->local,
		    .esi_port = client->esi.listener ? client->options.esi_port : 0,
		};
		isns_put_registration(client->server, &client->registration, &writer);
	} else {
		isns_put_text(&writer, ISNS_NAME, client->source);
		if (client->step == STEP_QUERY)
			isns_put_text(&writer, ISNS_ENTITY, client->options.entity);
		isns_put_empty(&writer, ISNS_DELIMITER);
		if (client->step == STEP_QUERY)
			isns_put_empty(&writer, ISNS_ENTITY);
		else
			isns_put_text(&writer, ISNS_ENTITY, client->options.entity);
	}
	if (client->step == STEP_DEREGISTER)
		function = ISNS_DEREGISTER;
	return isns_message(&writer, function, flags, ++client->xid, ret_length);
}

/* What stands behind the status, the key that was asked with and the delimiter. */
static bool answer_find(const struct isns_client *client, uint32_t tag,
			struct isns_attribute *ret_attribute)
{
	const uint8_t *body = client->body + 4;
	size_t length = client->body_length - 4, at = 0;
	struct isns_attribute attribute;

	while (isns_attribute_next(body, length, &at, &attribute) > 0)
		if (attribute.tag == ISNS_DELIMITER)
			return isns_attribute_find(body + at, length - at, tag, 4, ret_attribute);
	return false;
}

static bool answer_has_entity(const struct isns_client *client)
{
	struct isns_attribute entity;

	return answer_find(client, ISNS_ENTITY, &entity) &&
	       isns_attribute_is(&entity, client->options.entity);
}

static void registered(struct isns_client *client)
{
	const struct isns_registration *registration = &client->registration;
	struct isns_attribute period;

	client->period = PERIOD;
	if (answer_find(client, ISNS_PERIOD, &period))
		client->period = isns_attribute_number(&period);
	if (client->period < PERIOD_MIN || client->period > PERIOD)
		client->period = client->period < PERIOD_MIN ? PERIOD_MIN : PERIOD;
	if (!client->registered || client->shown_targets != registration->targets ||
	    client->shown_portals != registration->portals)
		log_notice("iSNS server %s knows %u targets, %u portals", client->options.address,
			   registration->targets, registration->portals);
	client->registered = true;
	client->shown_targets = registration->targets;
	client->shown_portals = registration->portals;
	memcpy(client->source, client->writing, sizeof(client->source));
}

static void refused(struct isns_client *client, uint32_t status)
{
	snprintf(client->reason, sizeof(client->reason), "the server says: %s (%u)",
		 isns_status_text(status), status);
	round_end(client, -EBADMSG); /* no socket says this */
}

/* The answer is here as far as it is of use. */
static void answered(struct isns_client *client)
{
	uint32_t status;

	if (client->body_length < 4) {
		round_end(client, -EPROTO);
		return;
	}
	status = pdu_get32(client->body);
	client->contact_ns = loop_wall(client->server->options.control);
	switch (client->step) {
	case STEP_DEREGISTER: /* what it did not know is gone too */
		client->registered = false;
		client->shown_targets = client->shown_portals = 0;
		if (!client->leaving && client->writing[0])
			step_begin(client, STEP_REGISTER);
		else
			round_end(client, 0);
		break;
	case STEP_QUERY:
		if (status == ISNS_GOOD && answer_has_entity(client))
			round_end(client, 0);
		else
			step_begin(client, STEP_REGISTER);
		break;
	default:
		if (status != ISNS_GOOD) {
			refused(client, status);
			break;
		}
		registered(client);
		round_end(client, 0);
	}
}

static bool header_good(const struct isns_client *client)
{
	static const uint16_t functions[] = {
	    [STEP_DEREGISTER] = ISNS_DEREGISTER,
	    [STEP_QUERY] = ISNS_QUERY,
	    [STEP_REGISTER] = ISNS_REGISTER,
	};

	return client->header.function == (functions[client->step] | ISNS_RESPONSE) &&
	       client->header.xid == client->xid;
}

static size_t take_head(struct isns_client *client, const uint8_t *data, size_t length)
{
	size_t piece = ISNS_HEADER - client->head_length;

	if (piece > length)
		piece = length;
	memcpy(client->head + client->head_length, data, piece);
	client->head_length += piece;
	if (client->head_length == ISNS_HEADER) {
		if (isns_header_get(client->head, &client->header) < 0 || !header_good(client))
			round_end(client, -EPROTO);
		client->left = client->header.length;
	}
	return piece;
}

static size_t take_body(struct isns_client *client, const uint8_t *data, size_t length)
{
	size_t piece = client->left < length ? client->left : length;
	size_t kept = BODY_KEPT - client->body_length;

	if (kept > piece)
		kept = piece;
	if (kept)
		memcpy(client->body + client->body_length, data, kept);
	client->body_length += kept;
	client->left -= (uint32_t)piece;
	return piece;
}

static size_t received(struct stream *stream, const void *data, size_t length)
{
	struct isns_client *client = stream_context(stream);
	const uint8_t *at = data;
	size_t used = 0;

	while (used < length && client->step != STEP_NONE && !client->whole) {
		if (client->head_length < ISNS_HEADER)
			used += take_head(client, at + used, length - used);
		else
			used += take_body(client, at + used, length - used);
		if (client->step == STEP_NONE || client->head_length < ISNS_HEADER || client->left)
			continue;
		client->head_length = 0;
		client->whole = (client->header.flags & ISNS_LAST) && client->sending;
		if ((client->header.flags & ISNS_LAST) && !client->sending)
			answered(client);
	}
	return length;
}

static void ended(struct stream *stream, int error)
{
	round_end(stream_context(stream), error ? error : -ECONNRESET);
}

static uint64_t retry_delay(const struct isns_client *client)
{
	unsigned doublings = client->failures < RETRY_MAX ? client->failures : RETRY_MAX;

	return RETRY_NS << (doublings ? doublings - 1 : 0);
}

/* Until the next round. */
static void rest(struct isns_client *client)
{
	if (client->leaving && !client->farewell && !client->quiet) {
		client->farewell = true;
		timer_start(&client->timer, 0);
	} else if (client->leaving || client->quiet) {
		client->over = true;
		client_free_if_gone(client);
	} else if (client->error) {
		timer_start(&client->timer, retry_delay(client));
	} else if (client->dirty) {
		timer_start(&client->timer, SETTLE_NS);
	} else if (client->registered) {
		timer_start(&client->timer, client->period * 1000000000ull / 3);
	}
}

static void closed(struct stream *stream)
{
	struct isns_client *client = stream_context(stream);

	client->stream = NULL;
	heap_free(client->out);
	client->out = NULL;
	rest(client);
}

static const struct stream_handlers handlers = {
    .received = received,
    .ended = ended,
    .closed = closed,
};

static const char *text_of(int error)
{
	switch (-error) {
	case ECONNREFUSED:
		return "nothing listens there: is the iSNS server running?";
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "it can not be reached: is the address right, and is the way to it open?";
	default:
		return strerror(-error);
	}
}

static void round_failed(struct isns_client *client, int error)
{
	client->dirty |= client->step == STEP_REGISTER;
	if (error == -ECANCELED)
		return;
	if (error != -EBADMSG) /* refused() has said why */
		snprintf(client->reason, sizeof(client->reason), "%s", text_of(error));
	if (client->failures++ == 0)
		log_warning("iSNS server %s: %s; it is tried again", client->options.address,
			    client->reason);
}

static void round_end(struct isns_client *client, int error)
{
	if (client->step == STEP_NONE)
		return;
	timer_stop(&client->timer);
	client->error = error;
	if (error) {
		round_failed(client, error);
	} else {
		client->failures = 0;
		client->reason[0] = '\0';
	}
	client->step = STEP_NONE;
	if (client->stream) {
		stream_close(client->stream);
		return;
	}
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	rest(client);
}

static void sent(struct stream_send *send, int result)
{
	struct isns_client *client = container_of(send, struct isns_client, send);

	client->sending = false;
	if (result == 0 && client->whole && client->step != STEP_NONE)
		answered(client);
}

static void step_begin(struct isns_client *client, enum step step)
{
	size_t length;

	client->step = step;
	client->head_length = client->body_length = 0;
	client->whole = false;
	heap_free(client->out); /* of the step before, which is sent */
	client->out = make_request(client, &length);
	if (!client->out) {
		round_end(client, -ENOMEM);
		return;
	}
	memset(&client->send, 0, sizeof(client->send));
	client->send.iov[0] = (struct iovec){client->out, length};
	client->send.done = sent;
	client->sending = true;
	stream_send(client->stream, &client->send);
}

static void connected(struct isns_client *client)
{
	socklen_t length = sizeof(client->local);
	struct err err = {0};
	int result;

	if (getsockname(client->fd, (struct sockaddr *)&client->local, &length) < 0) {
		round_end(client, -errno);
		return;
	}
	result = stream_attach(client->server->options.control, client->fd, &handlers, client,
			       &client->stream, &err);
	if (result < 0) {
		round_end(client, result);
		return;
	}
	client->fd = -1;
	esi_listen(client);
	timer_start(&client->timer, client->deadline - loop_now(client->server->options.control));
	step_begin(client, client->step);
}

static void ask(struct isns_client *client)
{
	socklen_t length = client->address.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
								 : sizeof(struct sockaddr_in);

	if (connect(client->fd, (struct sockaddr *)&client->address, length) == 0 ||
	    errno == EISCONN)
		connected(client);
	else if (errno == EINPROGRESS || errno == EALREADY)
		timer_start(&client->timer, ASK_NS);
	else
		round_end(client, -errno);
}

static struct iscsi_target *first_target(struct iscsi_server *server)
{
	list_for_each (it, &server->targets) {
		struct iscsi_target *target = list_entry(it, struct iscsi_target, link);

		if (!target->dying)
			return target;
	}
	return NULL;
}

/* What is to be done now. */
static enum step first_step(struct isns_client *client)
{
	const struct iscsi_target *target = first_target(client->server);
	bool known = client->source[0] && iscsi_target_find(client->server, client->source);

	client->writing[0] = '\0';
	if (client->server->portal_count && target && !client->leaving)
		snprintf(client->writing, sizeof(client->writing), "%s",
			 known ? client->source : target->name);
	if (!client->writing[0])
		return client->registered ? STEP_DEREGISTER : STEP_NONE;
	if (client->registered && !known)
		return STEP_DEREGISTER;
	return client->dirty || !client->registered ? STEP_REGISTER : STEP_QUERY;
}

static void round_begin(struct isns_client *client)
{
	/* One that leaves may be the same entity to the same server: its farewell comes first. */
	if (!client->leaving && !client->quiet &&
	    client->server->isns_clients.next != &client->link) {
		timer_start(&client->timer, SETTLE_NS);
		return;
	}
	client->step = first_step(client);
	client->error = 0;
	if (client->step == STEP_NONE) {
		client->dirty = false;
		client->failures = 0;
		client->reason[0] = '\0';
		rest(client);
		return;
	}
	client->deadline = loop_now(client->server->options.control) + LIMIT_NS;
	client->fd =
	    socket(client->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		round_end(client, -errno);
	else
		ask(client);
}

/* A round is due, its connection is looked at again, or its time is up. */
static void tick(struct timer *timer)
{
	struct isns_client *client = container_of(timer, struct isns_client, timer);
	bool late = loop_now(client->server->options.control) >= client->deadline;

	if (client->step == STEP_NONE)
		round_begin(client);
	else if (client->stream || late)
		round_end(client, -ETIMEDOUT);
	else
		ask(client);
}

/* ---- its life */

static bool at_rest(const struct isns_client *client)
{
	return client->step == STEP_NONE && !client->stream;
}

static void client_free_if_gone(struct isns_client *client)
{
	struct iscsi_server *server = client->server;

	if (!client->over || !at_rest(client) || client->esi.count)
		return;
	timer_stop(&client->timer);
	list_remove(&client->link);
	heap_free(client);
	server_try_stop(server);
}

/* What goes on ends now; rest() goes on from there. */
static void client_interrupt(struct isns_client *client)
{
	isns_esi_close(&client->esi);
	if (at_rest(client))
		rest(client);
	else
		round_end(client, -ECANCELED);
}

/* It deregisters what it has registered, or is just about to, and is gone. */
static void client_leave(struct isns_client *client)
{
	if (client->step == STEP_REGISTER) {
		client->registered = true;
		memcpy(client->source, client->writing, sizeof(client->source));
	}
	client->leaving = true;
	client_interrupt(client);
}

int iscsi_isns_parse(const char *text, struct iscsi_isns_options *options, struct err *err)
{
	char host[INET6_ADDRSTRLEN];
	struct in6_addr address;
	const char *end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
	const char *port = end && text[0] == '[' ? end + 1 : end;
	size_t skip = text[0] == '[', length;
	unsigned long number = ISNS_PORT;
	bool good = end || !skip;
	char *stop;

	if (!end || (!skip && strchr(end + 1, ':'))) /* a plain IPv6 address has many */
		end = port = text + strlen(text);
	length = (size_t)(end - text) - skip;
	if (*port == ':' && port[1] >= '0' && port[1] <= '9') {
		number = strtoul(port + 1, &stop, 10);
		good = good && *stop == '\0';
	} else if (*port) {
		good = false;
	}
	if (!good || length == 0 || length >= sizeof(host) || number < 1 || number > 65535)
		return err_set(err, -EINVAL, "%.80s is no ADDR, ADDR:PORT or [IPv6]:PORT", text);
	memcpy(host, text + skip, length);
	host[length] = '\0';
	if (inet_pton(strchr(host, ':') ? AF_INET6 : AF_INET, host, &address) != 1)
		return err_set(err, -EINVAL,
			       "%s is no address of an iSNS server; names are not "
			       "looked up",
			       host);
	snprintf(options->address, sizeof(options->address), "%s", host);
	options->port = (uint16_t)number;
	return 0;
}

static void make_address(struct isns_client *client)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&client->address;
	struct sockaddr_in *four = (struct sockaddr_in *)&client->address;

	if (strchr(client->options.address, ':')) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(client->options.port);
		(void)inet_pton(AF_INET6, client->options.address, &six->sin6_addr);
	} else {
		four->sin_family = AF_INET;
		four->sin_port = htons(client->options.port);
		(void)inet_pton(AF_INET, client->options.address, &four->sin_addr);
	}
}

int iscsi_isns_set(struct iscsi_server *server, const struct iscsi_isns_options *options,
		   struct err *err)
{
	struct isns_client *client = heap_zalloc(sizeof(*client));

	if (!client)
		return err_set(err, -ENOMEM, "no memory for an iSNS client");
	iscsi_isns_remove(server);
	client->server = server;
	client->options = *options;
	client->fd = -1;
	client->dirty = true;
	client->period = PERIOD;
	isns_esi_init(&client->esi, esi_closed);
	make_address(client);
	timer_init(&client->timer, server->options.control, tick);
	list_push_back(&server->isns_clients, &client->link);
	server->isns = client;
	timer_start(&client->timer, SETTLE_NS);
	return 0;
}

void iscsi_isns_remove(struct iscsi_server *server)
{
	if (server->isns)
		client_leave(server->isns);
	server->isns = NULL;
}

void isns_changed(struct iscsi_server *server)
{
	struct isns_client *client = server->isns;

	if (!client)
		return;
	client->dirty = true;
	if (at_rest(client) &&
	    (!timer_active(&client->timer) ||
	     client->timer.deadline > loop_now(server->options.control) + SETTLE_NS))
		timer_start(&client->timer, SETTLE_NS);
}

void isns_stop(struct iscsi_server *server)
{
	server->isns = NULL;
	list_for_each_safe (it, &server->isns_clients) {
		struct isns_client *client = list_entry(it, struct isns_client, link);

		client->quiet = true;
		client_interrupt(client);
	}
}

void isns_destroy(struct iscsi_server *server)
{
	list_for_each_safe (it, &server->isns_clients) {
		struct isns_client *client = list_entry(it, struct isns_client, link);

		timer_stop(&client->timer);
		heap_free(client);
	}
}

bool iscsi_isns_show(struct iscsi_server *server, struct iscsi_isns_info *ret_info)
{
	const struct isns_client *client = server->isns;

	if (!client)
		return false;
	*ret_info = (struct iscsi_isns_info){
	    .options = client->options,
	    .reason = client->reason,
	    .targets = client->shown_targets,
	    .portals = client->shown_portals,
	    .period = client->period,
	    .contact_ns = client->contact_ns,
	    .esi_answered = client->esi.answered,
	};
	if (client->failures)
		ret_info->state = "failing";
	else if (client->dirty || client->step == STEP_REGISTER)
		ret_info->state = "registering";
	else
		ret_info->state = client->registered ? "registered" : "nothing to register";
	return true;
}
