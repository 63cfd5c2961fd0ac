/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/cards.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/files.h"

/* Calls @each for the ports that @settings describe, alone or in a bond. */
static void for_ports(const struct settings *settings,
		      void (*each)(const char *port, cards_look *look, json_t *list),
		      cards_look *look, json_t *list)
{
	for (unsigned i = 0; i < settings->link_count; i++) {
		const struct link_settings *link = &settings->links[i];

		if (link->kind == LINK_ETHERNET)
			each(link->name, look, list);
		for (unsigned j = 0; j < link->member_count; j++)
			each(link->members[j], look, list);
	}
}

static void note(const char *port, cards_look *look, json_t *list)
{
	char card[CARD_TEXT];

	look(port, card);
	json_object_set_new(list, port, json_string(card));
}

int cards_note(const char *path, const struct settings *settings, cards_look *look, struct err *err)
{
	json_t *list = json_object();
	char *text;
	int result;

	for_ports(settings, note, look, list);
	text = list ? json_dumps(list, JSON_SORT_KEYS) : NULL;
	result = text ? file_replace(path, text, strlen(text), 0600, err)
		      : err_set(err, -ENOMEM, "out of memory");
	free(text); /* jansson's */
	json_decref(list);
	return result;
}

static void count(const char *port, cards_look *look, json_t *list)
{
	(void)look;
	json_object_set_new(list, port, json_true());
}

json_t *cards_changed(const char *path, const struct settings *settings, cards_look *look)
{
	json_t *noted = json_load_file(path, JSON_REJECT_DUPLICATES, NULL), *was;
	json_t *ports = json_object(), *changed = json_is_object(noted) ? json_array() : NULL;
	char card[CARD_TEXT];
	const char *port;

	for_ports(settings, count, look, ports);
	json_object_foreach(noted, port, was)
	{
		/* One that was not there is set for later. */
		if (!json_object_get(ports, port) || !json_string_length(was))
			continue;
		look(port, card);
		if (strcmp(card, json_string_value(was)) != 0)
			json_array_append_new(changed, json_pack("{s:s,s:O,s:s}", "port", port,
								 "was", was, "is", card));
	}
	json_decref(ports);
	json_decref(noted);
	return changed;
}
