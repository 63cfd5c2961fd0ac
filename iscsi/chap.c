/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/chap.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

/* CHAP_A numbers (IANA ppp-numbers; RFC 7143 12.1.3, 12.1.4). */
static const struct algorithm {
	unsigned number;
	enum iscsi_chap bit;
	const EVP_MD *(*digest)(void);
} table[] = {
    {5, ISCSI_CHAP_MD5, EVP_md5},
    {6, ISCSI_CHAP_SHA1, EVP_sha1},
    {7, ISCSI_CHAP_SHA256, EVP_sha256},
    {8, ISCSI_CHAP_SHA3_256, EVP_sha3_256},
};

static const struct algorithm *find_algorithm(unsigned number)
{
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].number == number)
			return &table[i];
	return NULL;
}

int chap_response(unsigned algorithm, uint8_t id, const uint8_t *secret, size_t secret_length,
		  const uint8_t *challenge, size_t challenge_length, uint8_t hash[CHAP_HASH_MAX],
		  size_t *ret_length)
{
	const struct algorithm *row = find_algorithm(algorithm);
	EVP_MD_CTX *context;
	unsigned length = 0;
	bool good;

	if (!row)
		return -EINVAL;
	context = EVP_MD_CTX_new();
	good = context && EVP_DigestInit_ex(context, row->digest(), NULL) &&
	       EVP_DigestUpdate(context, &id, 1) &&
	       EVP_DigestUpdate(context, secret, secret_length) &&
	       EVP_DigestUpdate(context, challenge, challenge_length) &&
	       EVP_DigestFinal_ex(context, hash, &length);
	EVP_MD_CTX_free(context);
	*ret_length = length;
	return good ? 0 : -EIO;
}

void chap_begin(struct chap *chap, unsigned algorithms, const uint8_t *random)
{
	*chap = (struct chap){.algorithms = algorithms, .id = random[0]};
	memcpy(chap->challenge, random + 1, CHAP_CHALLENGE_LENGTH);
}

/* The initiator lists in its order of preference; the first we offer is taken. */
static int step_algorithm(struct chap *chap, const struct text_pair *pairs, unsigned count,
			  struct text_writer *reply)
{
	const char *list = text_find(pairs, count, "CHAP_A");
	char item[16], challenge[2 * CHAP_CHALLENGE_LENGTH + 3];

	if (!list)
		return -EPROTO;
	for (unsigned i = 0; text_list_item(list, i, item, sizeof(item)); i++) {
		const struct algorithm *row;
		uint32_t number;

		if (text_number(item, &number) < 0)
			continue;
		row = find_algorithm(number);
		if (!row || !(row->bit & chap->algorithms))
			continue;
		chap->algorithm = number;
		chap->state = CHAP_EXPECT_RESPONSE;
		text_encode(chap->challenge, sizeof(chap->challenge), challenge);
		text_add_number(reply, "CHAP_A", number);
		text_add_number(reply, "CHAP_I", chap->id);
		text_add(reply, "CHAP_C", challenge);
		return 0;
	}
	return -EACCES;
}

static int check_response(const struct chap *chap, const struct iscsi_rule *rule, const char *name,
			  const char *response)
{
	uint8_t given[CHAP_HASH_MAX] = {0}, hash[CHAP_HASH_MAX] = {0};
	size_t given_length, hash_length;
	int result, bad;

	if (text_decode(response, given, sizeof(given), &given_length) < 0)
		return -EACCES;
	result =
	    chap_response(chap->algorithm, chap->id, rule->chap_secret, rule->chap_secret_length,
			  chap->challenge, sizeof(chap->challenge), hash, &hash_length);
	if (result < 0)
		return -EACCES;
	bad = CRYPTO_memcmp(given, hash, sizeof(hash));
	bad |= given_length != hash_length;
	bad |= strcmp(name, rule->chap_user) != 0;
	OPENSSL_cleanse(hash, sizeof(hash));
	return bad ? -EACCES : 0;
}

/* The initiator asks us to prove ourselves. Answering a challenge that is our own would let an
 * attacker reflect it (RFC 7143 12.1.3: identical challenges MUST end the login). */
static int answer_challenge(const struct chap *chap, const struct iscsi_rule *rule,
			    const char *id_text, const char *challenge_text,
			    struct text_writer *reply)
{
	uint8_t challenge[CHAP_CHALLENGE_MAX], hash[CHAP_HASH_MAX];
	char response[2 * CHAP_HASH_MAX + 3];
	size_t length, hash_length;
	uint32_t id;

	if (!rule->mutual_user[0])
		return -EACCES;
	if (text_number(id_text, &id) < 0 || id > 255 ||
	    text_decode(challenge_text, challenge, sizeof(challenge), &length) < 0)
		return -EACCES;
	if (length == sizeof(chap->challenge) && !memcmp(challenge, chap->challenge, length))
		return -EACCES;
	if (chap_response(chap->algorithm, (uint8_t)id, rule->mutual_secret,
			  rule->mutual_secret_length, challenge, length, hash, &hash_length) < 0)
		return -EACCES;
	text_encode(hash, hash_length, response);
	text_add(reply, "CHAP_N", rule->mutual_user);
	text_add(reply, "CHAP_R", response);
	return 0;
}

static int step_response(struct chap *chap, const struct iscsi_rule *rule,
			 const struct text_pair *pairs, unsigned count, struct text_writer *reply)
{
	const char *name = text_find(pairs, count, "CHAP_N");
	const char *response = text_find(pairs, count, "CHAP_R");
	const char *id = text_find(pairs, count, "CHAP_I");
	const char *challenge = text_find(pairs, count, "CHAP_C");
	int result;

	if (!name || !response || !id != !challenge)
		return -EPROTO;
	result = check_response(chap, rule, name, response);
	if (result == 0 && challenge)
		result = answer_challenge(chap, rule, id, challenge, reply);
	if (result == 0)
		chap->state = CHAP_PASSED;
	return result;
}

int chap_step(struct chap *chap, const struct iscsi_rule *rule, const struct text_pair *pairs,
	      unsigned count, struct text_writer *reply)
{
	switch (chap->state) {
	case CHAP_EXPECT_ALGORITHM:
		return step_algorithm(chap, pairs, count, reply);
	case CHAP_EXPECT_RESPONSE:
		return step_response(chap, rule, pairs, count, reply);
	case CHAP_PASSED:
		break;
	}
	return 0;
}
