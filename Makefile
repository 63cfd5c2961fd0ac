# SPDX-License-Identifier: Apache-2.0
# Granary. Start with: make run, make test. Every target is explained by "make help".

BUILD    ?= build
CC       ?= gcc
OPT      ?= -O2
SANITIZE ?=
CSTD     := -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
WARN     := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wwrite-strings -Wundef -Wformat=2 -Wno-format-nonliteral
CFLAGS   := $(CSTD) $(OPT) -g $(WARN) -fno-common -fstack-protector-strong -I. \
            $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
LDFLAGS  := -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LDLIBS   := -luring -laio -lcrypto -lsqlite3 -ljansson -lpthread

# A room is a folder; all its .c files are part of the library that programs and tests link.
ROOMS    := core volumes target iscsi webadmin
LIB_SRC  := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB      := $(BUILD)/libgranary.a

PROGRAMS := $(if $(wildcard granaryd/*.c),$(BUILD)/granaryd) $(if $(wildcard cli/*.c),$(BUILD)/granary)

# tests/unit/ROOM/NAME_test.c is one cmocka program; tests/sim/*_test.c are programs over the
# simulator (the other files of tests/sim).
UNIT_SRC := $(wildcard tests/unit/*/*_test.c)
UNIT     := $(UNIT_SRC:%.c=$(BUILD)/%)
SIM_SRC  := $(filter-out %_test.c,$(wildcard tests/sim/*.c))
SIM_OBJ  := $(SIM_SRC:%.c=$(BUILD)/%.o)
SIM_TEST := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/sim/*_test.c))
BENCH    := $(if $(wildcard bench/*.c),$(BUILD)/bench/granary-load)

.PHONY: all clean tests
all: $(PROGRAMS)
tests: $(UNIT) $(SIM_TEST) $(BENCH)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/granaryd: $(patsubst %.c,$(BUILD)/%.o,$(wildcard granaryd/*.c)) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/granary: $(patsubst %.c,$(BUILD)/%.o,$(wildcard cli/*.c)) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

$(SIM_TEST): $(BUILD)/%: $(BUILD)/%.o $(SIM_OBJ) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/bench/granary-load: $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/*.c)) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

clean:
	rm -rf $(BUILD)

-include $(shell [ -d $(BUILD) ] && find $(BUILD) -name '*.d')
