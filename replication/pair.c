/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "replication/node.h"

/*~ Pairing. Neither side knows the other's certificate yet, so whoever sits between them could
 * speak TLS with each. What he can not do is prove to one side that he knows the code over a
 * connection with *that* side: the proof is a MAC over the connection's exporter (RFC 8446 7.5),
 * which differs on his two connections, both certificates and both nodes.
 *
 *   key   = PBKDF2-HMAC-SHA256(code, "granary pairing", ROUNDS)
 *   proof = HMAC-SHA256(key, side | exporter | caller's certificate | listener's | caller's node |
 *           listener's node (zeros in the caller's proof); all of fixed length)
 *
 * The caller proves first. A code has 60 bits, ten minutes, one use and TRIES wrong guesses: an
 * online guess is hopeless, and the key's rounds make one from a recorded proof so as well. */

#define ROUNDS 100000
#define TRIES  5u

static const char digits[] = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"; /* no I, O, 0, 1 */

void replication_code(struct replication *replication, char ret_code[REPLICATION_CODE])
{
	uint8_t random[CODE_DIGITS];
	char *code = replication->code;

	loop_random(replication->options.loop, random, sizeof random);
	for (unsigned i = 0; i < CODE_DIGITS; i++)
		code[i] = digits[random[i] % 32];
	code[CODE_DIGITS] = '\0';
	replication->code_until_ns = loop_now(replication->options.loop) + 600 * 1000000000ull;
	replication->code_tries = TRIES;
	snprintf(ret_code, REPLICATION_CODE, "%.4s-%.4s-%.4s", code, code + 4, code + 8);
}

int code_normalize(const char *text, char ret_code[CODE_DIGITS + 1])
{
	unsigned count = 0;

	for (; *text; text++) {
		char digit = *text >= 'a' && *text <= 'z' ? (char)(*text - 'a' + 'A') : *text;

		if (digit == '-' || digit == ' ')
			continue;
		if (!strchr(digits, digit) || count == CODE_DIGITS)
			return -EINVAL;
		ret_code[count++] = digit;
	}
	ret_code[count] = '\0';
	return count == CODE_DIGITS ? 0 : -EINVAL;
}

struct proof {
	uint8_t side[16];
	uint8_t exporter[TLS_EXPORTER];
	uint8_t caller_print[TLS_FINGERPRINT], listener_print[TLS_FINGERPRINT];
	uint8_t caller[16], listener[16];
};

static int prove(const char *code, const struct proof *proof, uint8_t ret[WIRE_DIGEST])
{
	static const char salt[] = "granary pairing";
	uint8_t key[32];
	unsigned length = 0;
	bool good = PKCS5_PBKDF2_HMAC(code, CODE_DIGITS, (const uint8_t *)salt, sizeof salt - 1,
				      ROUNDS, EVP_sha256(), sizeof key, key) == 1 &&
		    HMAC(EVP_sha256(), key, sizeof key, (const uint8_t *)proof, sizeof *proof, ret,
			 &length) &&
		    length == WIRE_DIGEST;

	explicit_bzero(key, sizeof key);
	return good ? 0 : -ENOMEM;
}

static void fill(struct proof *proof, const struct visit *visit, bool caller)
{
	const uint8_t *own = tls_identity_fingerprint(visit->replication->identity);

	memset(proof, 0, sizeof *proof);
	memcpy(proof->exporter, visit->tls.exporter, sizeof proof->exporter);
	memcpy(caller ? proof->caller_print : proof->listener_print, own, TLS_FINGERPRINT);
	memcpy(caller ? proof->listener_print : proof->caller_print, visit->tls.fingerprint,
	       TLS_FINGERPRINT);
}

static void set_side(struct proof *proof, const char *side)
{
	memset(proof->side, 0, sizeof proof->side);
	snprintf((char *)proof->side, sizeof proof->side, "%s", side);
}

static int peer_store(struct replication *replication, const struct peer *peer, struct err *err)
{
	char uuid[33], print[2 * TLS_FINGERPRINT + 1];

	uuid_text(peer->uuid, uuid);
	fingerprint_text(peer->fingerprint, print);
	return config_run(replication->config, err,
			  "insert into peer(uuid, fingerprint, name, address, port)"
			  " values(?, ?, ?, ?, ?) on conflict(uuid) do update set"
			  " fingerprint = excluded.fingerprint, name = excluded.name,"
			  " address = excluded.address, port = excluded.port,"
			  " next_fingerprint = ''",
			  "ssssi", uuid, print, peer->name, peer->address, (int64_t)peer->port);
}

/* @uuid is who showed the certificate of this visit: pinned from now on. */
static int pin(struct visit *visit, const uint8_t uuid[16], const struct wire_message *message,
	       uint16_t port, struct err *err)
{
	struct replication *replication = visit->replication;
	struct peer *peer = peer_find(replication, uuid), *other, *kept;
	int result;

	other = peer_by_fingerprint(replication, visit->tls.fingerprint);
	if (memcmp(uuid, replication->node, 16) == 0 || (other && other != peer))
		return err_set(err, -EINVAL,
			       "that is this node, or one that is known by another name");
	kept = heap_zalloc(sizeof *kept);
	if (!kept)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(kept->uuid, uuid, 16);
	memcpy(kept->fingerprint, visit->tls.fingerprint, TLS_FINGERPRINT);
	snprintf(kept->address, sizeof kept->address, "%s", visit->address);
	snprintf(kept->name, sizeof kept->name, "%.*s", (int)message->data_length,
		 (const char *)message->data);
	kept->port = port;
	result = peer_store(replication, kept, err);
	if (result < 0) {
		heap_free(kept);
		return result;
	}
	if (peer) {
		list_remove(&peer->link);
		heap_free(peer);
	}
	list_push_back(&replication->peers, &kept->link);
	log_notice("paired with node %s at %s port %u", kept->name, kept->address, port);
	return 0;
}

static int code_usable(struct replication *replication)
{
	if (!replication->code[0] || replication->code_tries == 0 ||
	    loop_now(replication->options.loop) > replication->code_until_ns)
		return -EKEYEXPIRED;
	return 0;
}

static int check_proof(struct visit *visit, const struct wire_message *message, struct proof *proof)
{
	struct replication *replication = visit->replication;
	uint8_t expected[WIRE_DIGEST];
	int result = code_usable(replication);

	if (result < 0)
		return result;
	fill(proof, visit, false);
	memcpy(proof->caller, message->node, 16);
	set_side(proof, "caller");
	replication->code_tries--;
	result = prove(replication->code, proof, expected);
	if (result < 0)
		return result;
	return CRYPTO_memcmp(expected, message->digest, sizeof expected) == 0 ? 0 : -EKEYREJECTED;
}

void pair_answer(struct visit *visit, const struct wire_message *message)
{
	struct replication *replication = visit->replication;
	struct wire_message answer = {.type = WIRE_PAIRED, .version = WIRE_VERSION};
	struct proof proof;
	struct err err = {0};
	int result = check_proof(visit, message, &proof);

	if (result < 0) {
		log_warning("pairing with %s refused: %s", visit->address,
			    result == -EKEYEXPIRED ? "no code is waiting for one" : "wrong code");
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL, "%s",
			       result == -EKEYEXPIRED ? "no code is valid there; show a new one"
						      : "the code is wrong");
		return;
	}
	set_side(&proof, "listener");
	memcpy(proof.listener, replication->node, 16);
	result = prove(replication->code, &proof, answer.digest);
	explicit_bzero(replication->code, sizeof replication->code); /* one use */
	if (result == 0)
		result = pin(visit, message->node, message, (uint16_t)message->epoch, &err);
	if (result < 0) {
		channel_refuse(&visit->channel, WIRE_REFUSED_STATE, NULL, "%s", err.text);
		return;
	}
	memcpy(answer.node, replication->node, 16);
	answer.data = (const uint8_t *)replication->name;
	answer.data_length = strlen(replication->name);
	if (channel_send(&visit->channel, &answer) == 0)
		(void)channel_receive(&visit->channel, &answer); /* until the caller hangs up */
}

static int ask(struct visit *visit, struct err *err)
{
	struct replication *replication = visit->replication;
	struct wire_message message = {
	    .type = WIRE_PAIR, .version = WIRE_VERSION, .epoch = replication->port};
	struct wire_message answer;
	struct proof proof;
	uint8_t expected[WIRE_DIGEST];
	int result;

	/* The listener's node is not known yet; it is in the answer's proof, not in ours. */
	fill(&proof, visit, true);
	memcpy(proof.caller, replication->node, 16);
	set_side(&proof, "caller");
	result = prove(visit->code, &proof, message.digest);
	if (result < 0)
		return err_set(err, result, "out of memory");
	memcpy(message.node, replication->node, 16);
	message.data = (const uint8_t *)replication->name;
	message.data_length = strlen(replication->name);
	result = channel_send(&visit->channel, &message);
	if (result == 0)
		result = channel_receive(&visit->channel, &answer);
	if (result < 0)
		return err_set(err, result, "%s", visit->channel.why);
	if (answer.type == WIRE_REFUSE)
		return err_set(err, -EACCES, "the other node refuses: %.*s",
			       (int)answer.data_length, (const char *)answer.data);
	if (answer.type != WIRE_PAIRED)
		return err_set(err, -EPROTO, "the other node answers something else");
	set_side(&proof, "listener");
	memcpy(proof.listener, answer.node, 16);
	result = prove(visit->code, &proof, expected);
	if (result < 0 || CRYPTO_memcmp(expected, answer.digest, sizeof expected) != 0)
		return err_set(err, -EACCES, "the other node does not know the code");
	return pin(visit, answer.node, &answer, visit->port, err);
}

void pair_ask(struct visit *visit)
{
	struct replication_call *call = visit->call;
	int result = ask(visit, &call->err);

	channel_break(&visit->channel, -ESHUTDOWN, "paired");
	visit->call = NULL;
	call->done(call, result);
}
