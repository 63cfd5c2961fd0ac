/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/node.h"

/*~ A new key pair for this node. Peers know it by the certificate that they have pinned, so they
 * are told of the new one over connections in which it shows the old one:
 *
 *   1 the new pair is durable here, as next; the old one is shown everywhere
 *   2 each peer is told (REKEY), has pinned the new one durably beside the old one, and says so
 *   3 when all have: the new pair is this node's, by one statement; from then on it is shown
 *   4 a peer that sees the new one forgets the old one; all are called once so that they do
 *
 * Before 3 nobody needs the new one and after it everybody takes it, so a crash anywhere leaves
 * this node with a certificate that all its peers take. Who was told is not durable: after a start
 * in 2 everybody is told again, after one in 4 the next connection does it. */

#define RETRY_NS     (1000000000ull)
#define RETRY_MAX_NS (30 * 1000000000ull)

/* ---- the other side: a peer's ---- */
bool peer_is(const struct peer *peer, const uint8_t fingerprint[TLS_FINGERPRINT])
{
	return memcmp(peer->fingerprint, fingerprint, TLS_FINGERPRINT) == 0 ||
	       (peer->has_next && memcmp(peer->next, fingerprint, TLS_FINGERPRINT) == 0);
}

static int store_next(struct replication *replication, const struct peer *peer,
		      const uint8_t fingerprint[TLS_FINGERPRINT], struct err *err)
{
	char uuid[33], print[2 * TLS_FINGERPRINT + 1];

	uuid_text(peer->uuid, uuid);
	fingerprint_text(fingerprint, print);
	return config_run(replication->config, err,
			  "update peer set next_fingerprint = ? where uuid = ?", "ss", print, uuid);
}

void peer_shows(struct replication *replication, struct peer *peer,
		const uint8_t fingerprint[TLS_FINGERPRINT])
{
	char uuid[33];
	struct err err = {0};

	if (!peer->has_next || memcmp(peer->next, fingerprint, TLS_FINGERPRINT) != 0)
		return;
	uuid_text(peer->uuid, uuid);
	if (config_run(replication->config, &err,
		       "update peer set fingerprint = next_fingerprint, next_fingerprint = ''"
		       " where uuid = ?",
		       "s", uuid) < 0) {
		log_error("node %s: its old key is taken still: %s", peer->name, err.text);
		return;
	}
	memcpy(peer->fingerprint, peer->next, TLS_FINGERPRINT);
	peer->has_next = false;
	log_notice("node %s has a new key; its old one is refused from now on", peer->name);
}

static int take_next(struct replication *replication, struct peer *peer,
		     const uint8_t fingerprint[TLS_FINGERPRINT], struct err *err)
{
	struct peer *other = peer_by_fingerprint(replication, fingerprint);
	int result;

	if ((other && other != peer) ||
	    memcmp(fingerprint, tls_identity_fingerprint(replication->identity), TLS_FINGERPRINT) ==
		0)
		return err_set(err, -EINVAL, "that is another node's certificate");
	if (other) /* the one it has, or has told of before */
		return 0;
	result = store_next(replication, peer, fingerprint, err);
	if (result < 0)
		return result;
	memcpy(peer->next, fingerprint, TLS_FINGERPRINT);
	peer->has_next = true;
	log_notice("node %s is about to have a new key", peer->name);
	return 0;
}

void rekey_answer(struct visit *visit, struct peer *peer, const struct wire_message *message)
{
	struct replication *replication = visit->replication;
	struct wire_message answer = {.type = WIRE_REKEYED};
	struct err err = {0};

	memcpy(answer.node, replication->node, 16);
	memcpy(answer.digest, message->digest, sizeof answer.digest);
	if (take_next(replication, peer, message->digest, &err) < 0) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL, "%s", err.text);
		return;
	}
	if (channel_send(&visit->channel, &answer) == 0)
		(void)channel_receive(&visit->channel, &answer); /* until the caller hangs up */
}

/* ---- this side: telling ---- */
/* What peers have to know: the next one, or, in 4, the one that is shown. */
static const uint8_t *told_of(const struct replication *replication)
{
	return tls_identity_fingerprint(replication->next ? replication->next
							  : replication->identity);
}

static int ask(struct visit *visit, const uint8_t fingerprint[TLS_FINGERPRINT], struct err *err)
{
	struct wire_message message = {.type = WIRE_REKEY, .version = WIRE_VERSION}, answer;
	int result;

	memcpy(message.node, visit->replication->node, 16);
	memcpy(message.digest, fingerprint, TLS_FINGERPRINT);
	result = channel_send(&visit->channel, &message);
	if (result == 0)
		result = channel_receive(&visit->channel, &answer);
	if (result < 0)
		return err_set(err, result, "%s (an older version knows no new keys)",
			       visit->channel.why);
	if (answer.type == WIRE_REFUSE)
		return err_set(err, -EACCES, "it refuses: %.*s", (int)answer.data_length,
			       (const char *)answer.data);
	if (answer.type != WIRE_REKEYED || memcmp(answer.digest, fingerprint, TLS_FINGERPRINT) != 0)
		return err_set(err, -EPROTO, "it answers something else");
	return 0;
}

void rekey_ask(struct visit *visit)
{
	struct replication *replication = visit->replication;
	uint8_t fingerprint[TLS_FINGERPRINT];
	struct err err = {0};
	struct peer *peer;
	int result;

	memcpy(fingerprint, told_of(replication), sizeof fingerprint);
	result = ask(visit, fingerprint, &err);
	channel_break(&visit->channel, -ESHUTDOWN, "told");
	peer = peer_find(replication, visit->rekey);
	/* It may have been forgotten, or another key begun with, meanwhile. */
	if (!peer || !replication->rekeying ||
	    memcmp(fingerprint, told_of(replication), sizeof fingerprint) != 0)
		return;
	peer->told = result == 0;
	snprintf(peer->rekey_reason, sizeof peer->rekey_reason, "%.150s", err.text);
}

void rekey_hung_up(struct visit *visit, const char *why)
{
	struct peer *peer = peer_find(visit->replication, visit->rekey);

	if (!peer)
		return;
	peer->telling = false;
	if (why)
		snprintf(peer->rekey_reason, sizeof peer->rekey_reason, "%.150s", why);
}

static void call_peer(struct replication *replication, struct peer *peer, uint64_t now)
{
	struct visit *visit = heap_zalloc(sizeof *visit);
	uint64_t pause = RETRY_NS * (peer->rekey_tries < 30 ? 1 + peer->rekey_tries++ : 30);
	struct err err = {0};

	peer->rekey_retry_ns = now + (pause < RETRY_MAX_NS ? pause : RETRY_MAX_NS);
	if (!visit)
		return;
	visit->replication = replication;
	visit->rekeys = true;
	memcpy(visit->rekey, peer->uuid, 16);
	peer->telling = true;
	(void)node_dial(visit, peer->address, peer->port, &err);
}

static void tell_all_anew(struct replication *replication)
{
	list_for_each (it, &replication->peers) {
		struct peer *peer = list_entry(it, struct peer, link);

		peer->told = false;
		peer->rekey_retry_ns = peer->rekey_tries = 0;
		peer->rekey_reason[0] = '\0';
	}
}

/* 3. Connections that are there go on; handshakes begin with the new one from here on. */
static void change_over(struct replication *replication)
{
	struct err err = {0};

	if (config_run(replication->config, &err,
		       "update self set key = next_key, certificate = next_certificate,"
		       " next_key = '', next_certificate = ''",
		       "") < 0) {
		log_error("the new key could not be taken: %s", err.text);
		return;
	}
	tls_identity_become(replication->identity, replication->next);
	replication->next = NULL;
	tell_all_anew(replication);
	log_notice("this node has a new key, which every paired node knows");
}

void rekey_follow(struct replication *replication, uint64_t now)
{
	bool all = true;

	if (!replication->rekeying || replication->stopping)
		return;
	list_for_each (it, &replication->peers) {
		struct peer *peer = list_entry(it, struct peer, link);

		if (peer->told)
			continue;
		all = false;
		if (!peer->telling && now >= peer->rekey_retry_ns)
			call_peer(replication, peer, now);
	}
	/* Who is being paired with pins what he sees now. */
	if (!all || replication->pairing)
		return;
	if (replication->next)
		change_over(replication);
	else
		replication->rekeying = false;
}

/* ---- begin, end, load ---- */
void rekey_load(struct replication *replication, const char *key, const char *certificate)
{
	struct err err = {0};

	if (!key[0])
		return;
	if (tls_identity_load(key, certificate, &replication->next, &err) < 0)
		log_error("the new key is not taken: %s; begin with another", err.text);
	replication->rekeying = replication->next != NULL;
}

int replication_rekey(struct replication *replication, struct err *err)
{
	struct tls_identity *next = NULL;
	char *key, *certificate;
	int result;

	if (replication->next)
		return err_set(err, -EBUSY, "a new key is under way: paired nodes are being told");
	result = tls_identity_make(&key, &certificate, err);
	if (result < 0)
		return result;
	result = tls_identity_load(key, certificate, &next, err);
	if (result == 0)
		result = config_run(replication->config, err,
				    "update self set next_key = ?, next_certificate = ?", "ss", key,
				    certificate);
	explicit_bzero(key, strlen(key));
	heap_free(key);
	heap_free(certificate);
	if (result < 0) {
		tls_identity_free(next);
		return result;
	}
	replication->next = next;
	replication->rekeying = true;
	tell_all_anew(replication);
	log_notice("a new key for this node: paired nodes are told of it");
	return 0;
}

int replication_rekey_cancel(struct replication *replication, struct err *err)
{
	int result;

	if (!replication->next)
		return err_set(err, -ENOENT, "no new key is under way");
	result = config_run(replication->config, err,
			    "update self set next_key = '', next_certificate = ''", "");
	if (result < 0)
		return result;
	tls_identity_free(replication->next);
	replication->next = NULL;
	replication->rekeying = false;
	return 0;
}

json_t *replication_key(struct replication *replication)
{
	char now[2 * TLS_FINGERPRINT + 1], next[2 * TLS_FINGERPRINT + 1] = "";
	json_t *waiting = json_array();

	fingerprint_text(tls_identity_fingerprint(replication->identity), now);
	if (replication->next)
		fingerprint_text(tls_identity_fingerprint(replication->next), next);
	list_for_each (it, &replication->peers) {
		const struct peer *peer = list_entry(it, struct peer, link);
		char uuid[33];

		uuid_text(peer->uuid, uuid);
		if (replication->next && !peer->told)
			json_array_append_new(waiting,
					      json_pack("{s:s,s:s,s:s}", "uuid", uuid, "name",
							peer->name, "reason", peer->rekey_reason));
	}
	return json_pack("{s:s,s:s,s:s,s:o}", "fingerprint", now, "state",
			 replication->next ? "changing" : "settled", "next_fingerprint", next,
			 "waiting", waiting);
}
