/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/size.h"
#include "isotool/isotool.h"

#define DEFAULT_STATE_DIR "/var/lib/granary"

static const char help[] =
    "granary-iso: the images in a share of Granary\n\n"
    "usage: granary-iso [OPTION]... add POOL/NAME FILE|URL\n"
    "       granary-iso [OPTION]... list POOL/NAME\n"
    "       granary-iso [OPTION]... remove POOL/NAME IMAGE\n\n"
    "  --state DIR         granaryd's state directory (default $GRANARY_STATE or\n"
    "                      " DEFAULT_STATE_DIR ")\n"
    "  --name IMAGE        add: what it is called (default as the file or the URL)\n"
    "  --sha256 DIGITS     add: what it has to be, or it is not kept\n"
    "  --max-size SIZE     add: no more than this (default 64G)\n"
    "  --json              for programs\n"
    "  --help              print this help and exit\n";

static int usage(const char *text)
{
	fprintf(stderr, "granary-iso: %s (granary-iso --help shows the options)\n", text);
	return 2;
}

bool iso_name_good(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > ISO_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
		if (name[i] == '/' || iscntrl((unsigned char)name[i]))
			return false;
	return true;
}

bool iso_is_url(const char *source)
{
	return strncasecmp(source, "http://", 7) == 0 || strncasecmp(source, "https://", 8) == 0;
}

static bool read_hash(const char *text, char hash[ISO_HASH_TEXT])
{
	if (strlen(text) != 2 * (size_t)ISO_HASH)
		return false;
	for (unsigned i = 0; i < 2 * ISO_HASH; i++) {
		if (!isxdigit((unsigned char)text[i]))
			return false;
		hash[i] = (char)tolower((unsigned char)text[i]);
	}
	return true;
}

static int take(int code, struct iso_options *options)
{
	struct err err = {0};

	switch (code) {
	case 's':
		options->state_dir = optarg;
		return -1;
	case 'n':
		options->name = optarg;
		return -1;
	case 'c':
		return read_hash(optarg, options->sha256) ? -1
							  : usage("--sha256 takes 64 hex digits");
	case 'm':
		return size_parse(optarg, &options->size_max, &err) == 0 ? -1 : usage(err.text);
	case 'j':
		options->json = options->quiet = true;
		return -1;
	case 'h':
		return fputs(help, stdout), 0;
	default:
		return 2; /* getopt_long() has said why */
	}
}

/* What stands behind the last '/', without a URL's query. */
static const char *name_of(const char *source)
{
	static char name[ISO_NAME_MAX + 2]; /* one that is too long stays too long */
	size_t length = strcspn(source, iso_is_url(source) ? "?#" : "");
	size_t begin = length;

	while (begin && source[begin - 1] != '/')
		begin--;
	snprintf(name, sizeof name, "%.*s", (int)(length - begin), source + begin);
	return name;
}

static int take_words(int count, char **words, struct iso_options *options)
{
	static const struct {
		const char *name;
		enum iso_verb verb;
		int count;
	} verbs[] = {{"add", ISO_ADD, 3}, {"list", ISO_LIST, 2}, {"remove", ISO_REMOVE, 3}};

	for (unsigned i = 0; count && i < sizeof verbs / sizeof *verbs; i++) {
		if (strcmp(words[0], verbs[i].name) != 0 || count != verbs[i].count)
			continue;
		options->verb = verbs[i].verb;
		if (!mount_hello_init(&options->hello, words[1]) || *options->hello.snapshot)
			return usage("a share is named POOL/NAME");
		if (options->verb == ISO_ADD)
			options->source = words[2];
		if (options->verb == ISO_REMOVE)
			options->name = words[2];
		if (options->verb == ISO_ADD && !options->name)
			options->name = name_of(words[2]);
		if (options->name && !iso_name_good(options->name))
			return usage("an image's name has 1 to 200 bytes, no '/', no '.' in front; "
				     "--name gives one");
		return -1;
	}
	return usage("say add, list or remove, and the share");
}

int iso_options_read(int argc, char **argv, struct iso_options *ret_options)
{
	static const struct option longs[] = {
	    {"state", required_argument, NULL, 's'},
	    {"name", required_argument, NULL, 'n'},
	    {"sha256", required_argument, NULL, 'c'},
	    {"max-size", required_argument, NULL, 'm'},
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int code, status = -1;

	*ret_options =
	    (struct iso_options){.state_dir = getenv("GRANARY_STATE"), .size_max = ISO_SIZE_MAX};
	while (status < 0 && (code = getopt_long(argc, argv, "", longs, NULL)) != -1)
		status = take(code, ret_options);
	if (status < 0)
		status = take_words(argc - optind, argv + optind, ret_options);
	if (!ret_options->state_dir || !*ret_options->state_dir)
		ret_options->state_dir = DEFAULT_STATE_DIR;
	return status;
}
