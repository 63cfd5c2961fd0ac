/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_SEED_H
#define APPLIANCE_SEED_H

#include <jansson.h>
#include <stddef.h>

#include "appliance/settings.h"

/* What a machine is told at its first start by who made it: a NoCloud volume (labelled "cidata":
 * meta-data, user-data, network-config) or the environment of an OVF package (DSP0243: a CD with
 * ovf-env.xml). docs/SEED.md says what of it is taken.
 *
 * texts -> seed_parse() -> {"instance", "settings", "setup_code", "pools", "passed_over"}
 * "settings" is as settings_parse() takes it but for its ports, which seed_ports() names: a port is
 * known by "mac" or is "*", the first one, or has a name.
 * Context: any; nothing here touches the machine. */
#define SEED_TEXT_MAX  (64u << 10) /* bytes of a file */
#define SEED_POOLS     16
#define SEED_PORTS     64
#define SEED_CODE_TEXT 15 /* XXXX-XXXX-XXXX, as the set-up code of the first start */

enum seed_file { SEED_META, SEED_USER, SEED_NETWORK, SEED_OVF, SEED_FILES };
extern const char *const seed_names[SEED_FILES];

struct seed_texts {
	char *text[SEED_FILES]; /* heap; NULL: there is none */
	size_t length[SEED_FILES];
};
void seed_texts_free(struct seed_texts *texts);

/* seed_parse: NULL with a sentence that says which file and line. */
json_t *seed_parse(const struct seed_texts *texts, struct err *err);

/* A port of this machine, in the kernel's order. */
struct seed_port {
	char name[LINK_NAME], mac[18];
};
/* seed_ports: the names of ports in @settings (seed_parse()'s) become this machine's. -ENODEV with
 * a sentence that lists what there is. */
int seed_ports(json_t *settings, const struct seed_port *ports, unsigned count, struct err *err)
    __attribute__((warn_unused_result));

/* Inside, each with a file of its own. seed_network: a network-config of version 1 or 2 as
 * members "links" and "dns" of @settings. seed_ovf: the properties of an environment, texts by key;
 * seed_properties: what they say, into @seed. All: NULL or -errno with a sentence. */
int seed_network(const json_t *config, json_t *settings, struct err *err);
json_t *seed_ovf(const char *text, size_t length, struct err *err);
int seed_properties(const json_t *properties, json_t *seed, struct err *err);
/* seed_user: a cloud-config that was parsed, into @seed. seed_text: a scalar as a text, NULL for
 * anything else; numbers are written into @room. */
int seed_user(const json_t *config, json_t *seed, struct err *err);
const char *seed_text(const json_t *value, char room[32]);
bool seed_code_good(const char *code);

#endif
