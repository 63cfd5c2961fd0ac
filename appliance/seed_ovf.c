/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <expat.h>
#include <stdbool.h>
#include <string.h>

#include "appliance/seed.h"

/* The environment of an OVF package (DSP0243, clause 9.4; DSP8027 is its schema): properties as
 * attributes oe:key and oe:value of Property elements, below the Environment of this machine or
 * those of others beside it (Entity), which are none of ours. Entities of XML are refused. */
#define SPACE          "http://schemas.dmtf.org/ovf/environment/1"
#define NAME(local)    SPACE "|" local
#define PROPERTIES_MAX 64
#define VALUE_MAX      (48u << 10)
#define DEPTH_MAX      16

struct environment {
	XML_Parser parser;
	json_t *properties;
	unsigned depth, inside_entity; /* at which depth one has begun; 0: in none */
	const char *problem;
};

static void refuse(struct environment *environment, const char *why)
{
	if (!environment->problem)
		environment->problem = why;
	XML_StopParser(environment->parser, XML_FALSE);
}

static void take_property(struct environment *environment, const XML_Char **attributes)
{
	const char *key = NULL, *value = "";

	for (; *attributes; attributes += 2) {
		if (strcmp(attributes[0], NAME("key")) == 0)
			key = attributes[1];
		else if (strcmp(attributes[0], NAME("value")) == 0)
			value = attributes[1];
	}
	if (!key)
		refuse(environment, "a property without a key");
	else if (strlen(value) > VALUE_MAX ||
		 json_object_size(environment->properties) == PROPERTIES_MAX)
		refuse(environment, "too many properties, or too long ones");
	else if (json_object_set_new(environment->properties, key, json_string(value)) < 0)
		refuse(environment, "a property that is no text");
}

static void begin(void *context, const XML_Char *name, const XML_Char **attributes)
{
	struct environment *environment = context;

	if (++environment->depth > DEPTH_MAX)
		refuse(environment, "this goes too deep");
	else if (environment->depth == 1 && strcmp(name, NAME("Environment")) != 0)
		refuse(environment, "this is no environment of an OVF package");
	else if (!environment->inside_entity && strcmp(name, NAME("Entity")) == 0)
		environment->inside_entity = environment->depth;
	else if (!environment->inside_entity && strcmp(name, NAME("Property")) == 0)
		take_property(environment, attributes);
}

static void end(void *context, const XML_Char *name)
{
	struct environment *environment = context;

	(void)name;
	if (environment->inside_entity == environment->depth)
		environment->inside_entity = 0;
	environment->depth--;
}

static void entity(void *context, const XML_Char *name, int parameter, const XML_Char *value,
		   int length, const XML_Char *base, const XML_Char *system, const XML_Char *public,
		   const XML_Char *notation)
{
	(void)name, (void)parameter, (void)value, (void)length, (void)base, (void)system;
	(void)public, (void)notation;
	refuse(context, "entities are not taken");
}

json_t *seed_ovf(const char *text, size_t length, struct err *err)
{
	struct environment environment = {.properties = json_object()};

	environment.parser = XML_ParserCreateNS(NULL, '|');
	if (!environment.parser || !environment.properties) {
		XML_ParserFree(environment.parser);
		json_decref(environment.properties);
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	XML_SetUserData(environment.parser, &environment);
	XML_SetElementHandler(environment.parser, begin, end);
	XML_SetEntityDeclHandler(environment.parser, entity);
	if (XML_Parse(environment.parser, text, (int)length, XML_TRUE) != XML_STATUS_OK) {
		const char *why = environment.problem
				      ? environment.problem
				      : XML_ErrorString(XML_GetErrorCode(environment.parser));

		err_set(err, -EINVAL, "line %lu: %s",
			(unsigned long)XML_GetCurrentLineNumber(environment.parser),
			why ? why : "this is no XML");
		json_decref(environment.properties);
		environment.properties = NULL;
	}
	XML_ParserFree(environment.parser);
	return environment.properties;
}
