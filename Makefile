# SPDX-License-Identifier: Apache-2.0
# Granary. Start with: make run, make test. Every target is explained by "make help".

BUILD    ?= build
CC       := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
OPT      ?= -O2
SANITIZE ?=
# -iquote, not -I: <iscsi/iscsi.h> is libiscsi's, "iscsi/iscsi.h" is ours.
CSTD     := -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
WARN     := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wwrite-strings -Wundef -Wformat=2 -Wno-format-nonliteral
HARDEN   := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer \
            -fno-sanitize-recover=all,-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
# Sanitizers and fuzzers need lines for their reports, no more.
# No path of this tree is in what is built (debug information, and so the build ID): the same source
# gives the same bytes wherever it lies.
CFLAGS   := $(CSTD) $(OPT) $(if $(SANITIZE),-g1,-g) $(WARN) $(HARDEN) -fno-common -ffile-prefix-map=$(CURDIR)=. -iquote .
LDFLAGS  := -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE),-Wl,-z,relro,-z,now)
LDLIBS   := -luring -laio -lssl -lcrypto -lsqlite3 -ljansson -lblkid -lisal -lz -llz4 -lzstd -lpthread

# make run
STATE      ?= $(if $(filter 0,$(shell id -u)),/var/lib/granary,$(BUILD)/state)
BIND       ?= 127.0.0.1
ISCSI_PORT ?= 3260
WEB_PORT   ?= 8443
NFS_PORT   ?= 2049
MOUNT_PORT ?= 0
REPL_PORT  ?= 7420

# make install
PREFIX   ?= /usr/local
SYSTEMD  ?= $(PREFIX)/lib/systemd/system
MANDIR   ?= $(PREFIX)/share/man
MIBDIR   ?= $(PREFIX)/share/snmp/mibs
BASHCOMP ?= $(PREFIX)/share/bash-completion/completions
OCFDIR   ?= $(PREFIX)/lib/ocf/resource.d

FUZZ_SECONDS ?= 60

# All cores, unless this is a make inside a make: that one shares the outer one's jobs.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
MAKEFLAGS += --no-builtin-rules
.SECONDARY:
.DELETE_ON_ERROR:
Q   := $(if $(V),,@)
say  = @$(if $(V),true,printf '  %-5s %s\n' $(1) $(2))

# A room is a folder; all its .c files are part of the library that programs and tests link.
ROOMS    := core support volumes snapshots replication target iscsi shares nfs mounts webadmin
LIB_SRC  := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
LIB      := $(BUILD)/libgranary.a

PROGRAMS := $(BUILD)/granaryd $(BUILD)/granary $(BUILD)/granary-web $(BUILD)/granary-mount $(BUILD)/granary-smb $(BUILD)/granary-smart $(BUILD)/granary-iso $(BUILD)/granary-console \
            $(BUILD)/granary-update $(BUILD)/granary-hostd $(BUILD)/granary-install $(BUILD)/granary-seed \
            $(BUILD)/granary-state

# tests/unit/ROOM/NAME_test.c is one cmocka program; tests/sim/*_test.c are programs over the
# simulator (the other files of tests/sim); tests/integration/NAME.c is a helper program of an
# integration test, tests/guest/NAME.c runs inside a guest; tests/fuzz/NAME_fuzz.c is a libFuzzer target.
UNIT     := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*/*_test.c))
SIM_SRC  := $(filter-out %_test.c %/trace_replay.c,$(wildcard tests/sim/*.c))
SIM_OBJ  := $(SIM_SRC:%.c=$(BUILD)/obj/%.o)
# The mutation tests, and what replays a guest's recording, compile the engine once more for
# themselves, and not for ASan: asan=never.
MUTATION := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/sim/*mutation_test.c) tests/sim/trace_replay.c)
SIM_TEST := $(filter-out $(if $(findstring address,$(SANITIZE)),$(MUTATION)),$(MUTATION) \
		$(patsubst %.c,$(BUILD)/%,$(filter-out %mutation_test.c,$(wildcard tests/sim/*_test.c))))
HELPERS  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/integration/*.c))
GUEST    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/guest/*.c))
BENCH    := $(if $(wildcard bench/*.c),$(BUILD)/bench/granary-load)
# .. and, without libFuzzer, a suite of the ASan pass.
REPLAYS  := $(if $(findstring address,$(SANITIZE)),$(patsubst tests/fuzz/%_fuzz.c,$(BUILD)/tests/fuzz/%_replay,$(wildcard tests/fuzz/*_fuzz.c)))
FUZZERS  := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*_fuzz.c))

SOURCES  := $(shell git ls-files -co --exclude-standard '*.c' 2>/dev/null || find . -name '*.c')
HEADERS  := $(shell git ls-files -co --exclude-standard '*.h' 2>/dev/null || find . -name '*.h')

.PHONY: all tests run test lint format check-layers asan tsan fuzz fuzzers bench torture install \
        clean help FORCE
all: $(PROGRAMS) | $(RUN_READY)
tests: $(UNIT) $(SIM_TEST) $(HELPERS) $(GUEST) $(BENCH) $(REPLAYS)

# --- packages: looked at before anything is compiled; a stamp makes it free afterwards ---------
# A plain "make" only says what is missing; the goals a newcomer types install it when root.
PACKAGES_DO := $(if $(filter run test lint analyze asan tsan fuzz bench bench-nfs torture appliance appliance-test,$(MAKECMDGOALS)),install,check)
STAMPS      := $(abspath build)
RUN_READY   := $(STAMPS)/.packages-run
TEST_READY  := $(STAMPS)/.packages-test
BENCH_READY := $(STAMPS)/.packages-bench
APPLIANCE_READY := $(STAMPS)/.packages-appliance
$(RUN_READY): packages.txt
	@tools/packages $(PACKAGES_DO) run $@
$(TEST_READY): packages.txt | $(RUN_READY)
	@tools/packages $(PACKAGES_DO) test $@
$(APPLIANCE_READY): packages.txt | $(RUN_READY)
	@tools/packages $(PACKAGES_DO) appliance $@
$(BENCH_READY): packages.txt | $(TEST_READY)
	@tools/packages $(PACKAGES_DO) bench $@

# --- building ----------------------------------------------------------------------------------
# Objects are rebuilt when the compiler's flags change.
FLAGS := $(BUILD)/.flags
$(FLAGS): FORCE
	@mkdir -p $(@D); echo '$(CC) $(CFLAGS)' | cmp -s - $@ || echo '$(CC) $(CFLAGS)' > $@

$(BUILD)/obj/%.o: %.c $(FLAGS) | $(RUN_READY)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
# By name: a pattern without a recipe would add nothing.
$(patsubst %.c,$(BUILD)/obj/%.o,$(filter tests/% bench/%,$(SOURCES:./%=%))): | $(TEST_READY)

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/granaryd: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard granaryd/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/granary: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard cli/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lyaml

# The web front; its assembler input is not seen by -MMD.
FRONT_LIBS := -lmicrohttpd -lseccomp -lyaml
$(BUILD)/obj/webfront/assets.o: $(wildcard webadmin/ui/dist/*)
$(BUILD)/granary-web: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard webfront/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(FRONT_LIBS)

# A mount's process.
$(BUILD)/granary-mount: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard fusemount/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lfuse3 -lseccomp

$(BUILD)/granary-smb: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard smbfront/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/granary-smart: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard diskhealth/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/granary-iso: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard isotool/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcurl

CONSOLE_PARTS := $(patsubst %,$(BUILD)/obj/appliance/%.o,console glyphs menu qr screen text)
$(BUILD)/granary-console: $(CONSOLE_PARTS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lqrencode

HOST_PARTS := $(patsubst %,$(BUILD)/obj/appliance/%.o,answer cards disks files firewall host host_update payload render report settings settings_file)
$(BUILD)/granary-hostd: $(patsubst %,$(BUILD)/obj/appliance/%.o,hostd system) $(HOST_PARTS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lsystemd -lseccomp

SEED_PARTS := $(patsubst %,$(BUILD)/obj/appliance/%.o,seed_network seed_ovf seed_parse seed_ports)
SEED_LIBS  := -lyaml -lexpat
$(BUILD)/granary-seed: $(BUILD)/obj/appliance/seed.o $(SEED_PARTS) $(patsubst %,$(BUILD)/obj/appliance/%.o,files settings settings_file) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(SEED_LIBS) -lseccomp

$(BUILD)/granary-install: $(patsubst %,$(BUILD)/obj/appliance/%.o,disks installer payload) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/granary-state: $(patsubst %,$(BUILD)/obj/appliance/%.o,state superblock) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

UPDATE_PARTS := $(patsubst %,$(BUILD)/obj/appliance/%.o,bundle grubenv install medium slot)
$(BUILD)/granary-update: $(patsubst %,$(BUILD)/obj/appliance/%.o,files report source update) $(UPDATE_PARTS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcurl

$(BUILD)/tests/unit/appliance/%: $(BUILD)/obj/tests/unit/appliance/%.o $(UPDATE_PARTS) $(HOST_PARTS) $(SEED_PARTS) $(patsubst %,$(BUILD)/obj/appliance/%.o,glyphs qr screen superblock text) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(SEED_LIBS) -lqrencode -lcmocka

$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lyaml -lcmocka

BENCH_PARTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out bench/load.c,$(wildcard bench/*.c)))
$(BUILD)/tests/unit/smbfront/%: $(BUILD)/obj/tests/unit/smbfront/%.o $(BUILD)/obj/smbfront/render.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

$(BUILD)/tests/unit/webfront/%: $(BUILD)/obj/tests/unit/webfront/%.o $(BUILD)/obj/webfront/confine.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lseccomp -lcmocka

$(BUILD)/tests/unit/diskhealth/%: $(BUILD)/obj/tests/unit/diskhealth/%.o $(patsubst %,$(BUILD)/obj/diskhealth/%.o,ask options report) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

$(BUILD)/tests/unit/bench/%: $(BUILD)/obj/tests/unit/bench/%.o $(BENCH_PARTS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

CLI_PARTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out cli/main.c,$(wildcard cli/*.c)))
$(BUILD)/tests/unit/cli/%: $(BUILD)/obj/tests/unit/cli/%.o $(CLI_PARTS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lyaml -lcmocka

# The engine once more with its ordering lines switchable (volumes/order.h).
MUTANT_OBJ := $(patsubst %.c,$(BUILD)/mutation/%.o,$(wildcard volumes/*.c shares/*.c replication/*.c) \
		tests/sim/mutation.c)
$(BUILD)/mutation/%.o: %.c $(FLAGS) | $(TEST_READY)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS) -DGRANARY_MUTATION -MMD -MP -c -o $@ $<
$(MUTATION): $(BUILD)/%: $(BUILD)/obj/%.o $(MUTANT_OBJ) \
		$(filter-out %/mutation.o,$(SIM_OBJ)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Unit programs over the same engine, for what the simulator does not tell (mutation_test.c).
MUTANT_UNITS := $(BUILD)/mutation/away_test $(BUILD)/mutation/mirror_test \
		$(BUILD)/mutation/mirror_moves_test
$(MUTANT_UNITS): $(BUILD)/mutation/%: $(BUILD)/obj/tests/unit/volumes/%.o $(MUTANT_OBJ) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka
$(BUILD)/tests/sim/mutation_test: | $(MUTANT_UNITS)

$(filter-out $(MUTATION),$(SIM_TEST)): $(BUILD)/%: $(BUILD)/obj/%.o $(SIM_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(filter-out %/update_ext4 %/update_hasty,$(HELPERS)): $(BUILD)/%: $(BUILD)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -liscsi -Wl,--as-needed -lnfs

# granary-update with another boot partition.
$(BUILD)/tests/integration/update_ext4: $(BUILD)/obj/tests/integration/update_ext4.o \
		$(patsubst %,$(BUILD)/obj/appliance/%.o,files report source update) $(filter-out %/slot.o,$(UPDATE_PARTS)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcurl

# granary-update that does not wait long.
$(BUILD)/tests/integration/update_hasty: $(BUILD)/obj/tests/integration/update_hasty.o \
		$(patsubst %,$(BUILD)/obj/appliance/%.o,files report source) $(UPDATE_PARTS) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcurl

# Programs for guests: static, without the library, the same in every build. That sqlite could load
# extensions if it were not is not worth the linker's warning.
$(BUILD)/tests/guest/trace_load $(BUILD)/tests/guest/later_release: GUEST_LIBS := -Wl,--no-warnings -lsqlite3 -lm
$(GUEST): $(BUILD)/%: %.c $(FLAGS) | $(TEST_READY)
	@mkdir -p $(@D)
	$(call say,GUEST,$@)
	$(Q)$(CC) $(CSTD) -O2 $(WARN) -static -o $@ $< $(GUEST_LIBS)

$(BUILD)/bench/granary-load: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard bench/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

FUZZ_PARTS := webfront/request.c webfront/document.c webfront/guard.c
$(REPLAYS): $(BUILD)/tests/fuzz/%_replay: $(BUILD)/obj/tests/fuzz/%_fuzz.o $(BUILD)/obj/tests/fuzz/replay.o \
		$(UPDATE_PARTS) $(HOST_PARTS) $(SEED_PARTS) $(FUZZ_PARTS:%.c=$(BUILD)/obj/%.o) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(SEED_LIBS)

# Fuzz targets: clang, libFuzzer, ASan and UBSan; the library once more with coverage in it.
FUZZ_CFLAGS := $(CSTD) -O1 -g1 -fno-omit-frame-pointer -fno-sanitize-recover=all -Werror=incompatible-pointer-types -iquote . \
               -fsanitize=fuzzer-no-link,address,undefined
FUZZ_OBJ    := $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(LIB_SRC) appliance/bundle.c appliance/grubenv.c \
		appliance/settings.c appliance/seed_network.c appliance/seed_ovf.c appliance/seed_parse.c \
		appliance/seed_ports.c $(FUZZ_PARTS))
$(BUILD)/fuzz/obj/%.o: %.c | $(TEST_READY)
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)
	$(Q)clang $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/fuzz/libgranary.a: $(FUZZ_OBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^
$(BUILD)/fuzz/%_fuzz: $(BUILD)/fuzz/obj/tests/fuzz/%_fuzz.o $(BUILD)/fuzz/libgranary.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)clang -fsanitize=fuzzer,address,undefined -pthread -o $@ $^ $(LDLIBS) $(SEED_LIBS)
fuzzers: $(FUZZERS)

# --- running -----------------------------------------------------------------------------------
run: $(PROGRAMS)
	@mkdir -p $(STATE)
	@exec tools/run $(BUILD) $(STATE) $(BIND) $(WEB_PORT) --iscsi-port $(ISCSI_PORT) \
		$(if $(filter file,$(origin NFS_PORT)),,--nfs-port $(NFS_PORT)) --mount-port $(MOUNT_PORT) \
		$(if $(filter file,$(origin REPL_PORT)),,--repl-port $(REPL_PORT))

# --- proving -----------------------------------------------------------------------------------
ASAN := BUILD=$(BUILD)/asan SANITIZE=address,undefined OPT=-O1
TSAN := BUILD=$(BUILD)/tsan SANITIZE=thread OPT=-O1

.PHONY: asan-build tsan-build
asan-build: | $(TEST_READY)
	+@$(MAKE) --no-print-directory $(ASAN) all tests
tsan-build: | $(TEST_READY)
	+@$(MAKE) --no-print-directory $(TSAN) all tests

test: all tests asan-build | $(TEST_READY)
	@tests/run --build $(BUILD) --asan $(BUILD)/asan $(TESTS)

asan: asan-build
	@tests/run --asan $(BUILD)/asan --asan-full $(TESTS)

tsan: tsan-build
	@tests/run --build $(BUILD)/tsan --only 'unit/|sim/' $(TESTS)

fuzz: fuzzers | $(TEST_READY)
	@tests/run --fuzz $(BUILD)/fuzz --fuzz-seconds $(FUZZ_SECONDS) $(TESTS)

torture: all tests | $(TEST_READY)
	@tests/run --build $(BUILD) --torture $(TESTS)

# The daemon with each sanitizer, under every operation code; an hour: TORTURE_MINUTES=60.
TORTURE_MINUTES ?= 8
.PHONY: torture-scsi
torture-scsi: all tests asan-build tsan-build | $(TEST_READY)
	@BUILD=$(abspath $(BUILD)) TORTURE_MINUTES=$(TORTURE_MINUTES) tests/integration/scsi_torture_test.py
	@BUILD=$(abspath $(BUILD))/asan TORTURE_ONLY=hammer TORTURE_MINUTES=$(TORTURE_MINUTES) tests/integration/scsi_torture_test.py
	@BUILD=$(abspath $(BUILD))/tsan TORTURE_ONLY=hammer TORTURE_MINUTES=$(TORTURE_MINUTES) tests/integration/scsi_torture_test.py

# Guests recorded and replayed to crash points again and again.
TRACE_MINUTES ?= 8
.PHONY: torture-trace
torture-trace: all tests | $(TEST_READY)
	@BUILD=$(abspath $(BUILD)) TRACE_MINUTES=$(TRACE_MINUTES) tests/integration/guest_trace_test.py

.PHONY: bench-nfs
bench: all tests | $(BENCH_READY)
	@bench/run --build $(BUILD) $(BENCH_ARGS)
	@bench/nfs --build $(BUILD) $(NFS_BENCH_ARGS)
bench-nfs: all tests | $(BENCH_READY)
	@bench/nfs --build $(BUILD) $(NFS_BENCH_ARGS)

# --- the appliance -----------------------------------------------------------------------------
.PHONY: appliance appliance-test
appliance: all | $(APPLIANCE_READY)
	@appliance/build

appliance-test: $(BUILD)/tests/guest/later_release $(BUILD)/tests/integration/update_hasty | $(APPLIANCE_READY)
	@tests/appliance/boot_test.py
	@tests/appliance/seed_test.py
	@tests/appliance/settings_test.py
	@tests/appliance/trouble_test.py
	@tests/appliance/install_test.py
	@tests/appliance/formats_test.py
	@tests/appliance/update_test.py
	@tests/appliance/schema_test.py
	@tests/appliance/update_api_test.py
	@tests/appliance/power_test.py
	@tests/appliance/rebuild_test.py

# --- lint: every file is looked at once per change ---------------------------------------------
.PHONY: analyze lint-format lint-tidy lint-sources lint-scripts
lint: lint-format lint-tidy lint-sources lint-scripts check-layers
	@echo "lint: clean"

lint-format: | $(TEST_READY)
	$(call say,LINT,format)
	$(Q)clang-format --dry-run -Werror $(SOURCES) $(HEADERS)

# In "make lint" the path analyzer looks at 30,000 states of a function, an eighth of what it does by
# itself, so that CI has time for the tests; "make analyze" lets it go on.
ANALYZE ?= quick
ANALYZER := $(if $(filter quick,$(ANALYZE)),-Xclang -analyzer-config -Xclang max-nodes=30000)
LOOKED := $(BUILD)/$(if $(filter quick,$(ANALYZE)),lint,analyze)
analyze:
	$(Q)$(MAKE) --no-print-directory ANALYZE=deep lint-tidy
	@echo "analyze: clean"

TIDY := $(SOURCES:%.c=$(LOOKED)/%.tidy)
$(LOOKED)/%.tidy: %.c .clang-tidy $(HEADERS) | $(TEST_READY)
	@mkdir -p $(@D)
	$(call say,TIDY,$<)
	$(Q)clang-tidy --quiet --warnings-as-errors='*' $< -- $(CSTD) -iquote . $(ANALYZER) > $@.out 2>&1 \
		|| { cat $@.out; exit 1; }
	@touch $@
lint-tidy: $(TIDY)

lint-sources: | $(TEST_READY)
	$(call say,LINT,sources)
	$(Q)tests/check_sources

lint-scripts: | $(TEST_READY)
	$(call say,LINT,scripts)
	$(Q)tests/check_scripts

check-layers: | $(TEST_READY)
	$(call say,LINT,layers)
	$(Q)tests/check_layers

format: | $(TEST_READY)
	clang-format -i $(SOURCES) $(HEADERS)

# --- installing --------------------------------------------------------------------------------
install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(SYSTEMD)
	install -m 755 $(BUILD)/granaryd $(DESTDIR)$(PREFIX)/sbin/granaryd
	install -m 755 $(BUILD)/granary-web $(DESTDIR)$(PREFIX)/sbin/granary-web
	install -m 755 $(BUILD)/granary-mount $(DESTDIR)$(PREFIX)/sbin/granary-mount
	install -m 755 $(BUILD)/granary-smb $(DESTDIR)$(PREFIX)/sbin/granary-smb
	install -m 755 $(BUILD)/granary-smart $(DESTDIR)$(PREFIX)/sbin/granary-smart
	install -m 755 $(BUILD)/granary-iso $(DESTDIR)$(PREFIX)/sbin/granary-iso
	install -m 755 $(BUILD)/granary $(DESTDIR)$(PREFIX)/bin/granary
	sed 's|@SBINDIR@|$(PREFIX)/sbin|g' appliance/granaryd.service.in \
		> $(DESTDIR)$(SYSTEMD)/granaryd.service
	sed 's|@SBINDIR@|$(PREFIX)/sbin|g' appliance/granary-web.service.in \
		> $(DESTDIR)$(SYSTEMD)/granary-web.service
	sed 's|@SBINDIR@|$(PREFIX)/sbin|g' appliance/granary-smb.service.in \
		> $(DESTDIR)$(SYSTEMD)/granary-smb.service
	sed 's|@SBINDIR@|$(PREFIX)/sbin|g' appliance/granary-smart.service.in \
		> $(DESTDIR)$(SYSTEMD)/granary-smart.service
	chmod 644 $(DESTDIR)$(SYSTEMD)/granary-smart.service
	chmod 644 $(DESTDIR)$(SYSTEMD)/granaryd.service $(DESTDIR)$(SYSTEMD)/granary-web.service \
		$(DESTDIR)$(SYSTEMD)/granary-smb.service
	set -e; for page in $(wildcard docs/man/*.[158]); do \
		section=$${page##*.}; \
		install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$$section/$${page##*/}; done
	install -D -m 644 docs/GRANARY-ALERT-MIB.txt $(DESTDIR)$(MIBDIR)/GRANARY-ALERT-MIB.txt
	install -D -m 644 cli/completion/granary.bash $(DESTDIR)$(BASHCOMP)/granary
	install -D -m 755 replication/ocf/replica $(DESTDIR)$(OCFDIR)/granary/replica

# What only the appliance has.
.PHONY: install-appliance
install-appliance: install
	install -m 755 $(BUILD)/granary-update $(DESTDIR)$(PREFIX)/sbin/granary-update
	install -m 755 $(BUILD)/granary-install $(DESTDIR)$(PREFIX)/sbin/granary-install
	install -m 755 $(BUILD)/granary-hostd $(DESTDIR)$(PREFIX)/sbin/granary-hostd
	install -m 755 $(BUILD)/granary-seed $(DESTDIR)$(PREFIX)/sbin/granary-seed
	install -m 755 $(BUILD)/granary-state $(DESTDIR)$(PREFIX)/sbin/granary-state
	install -m 755 $(BUILD)/granary-console $(DESTDIR)$(PREFIX)/sbin/granary-console

clean:
	rm -rf $(BUILD)

help:
	@echo 'make                build build/granaryd, build/granary and build/granary-web'
	@echo 'make run            build, then serve a demo LUN in the foreground; Ctrl-C stops it'
	@echo '                    STATE=DIR BIND=ADDR ISCSI_PORT=N WEB_PORT=N NFS_PORT=N REPL_PORT=N'
	@echo 'make test           every suite, both I/O engines, an ASan+UBSan pass, fuzz corpora'
	@echo '                    TESTS="--only REGEX", "--list" and more: tests/run --help'
	@echo 'make lint           clang-format, clang-tidy, layers, banned functions, scripts'
	@echo 'make analyze        the path analyzer of clang-tidy with its full budget'
	@echo 'make format         rewrite the sources as clang-format wants them'
	@echo 'make check-layers   includes go only downwards'
	@echo 'make asan, tsan     suites under ASan+UBSan; unit and simulator tests under TSan'
	@echo 'make fuzz           each fuzz target FUZZ_SECONDS=60 seconds'
	@echo 'make bench          load generator against granaryd and tgt, then nfs-ganesha;'
	@echo '                    make bench-nfs: the latter half'
	@echo 'make appliance       one bootable disk image, as root; make appliance-test boots it'
	@echo 'make torture        long crash simulation; make torture-scsi: SCSI, also under ASan and'
	@echo '                    TSan, TORTURE_MINUTES=60 for an hour or so of each; make torture-trace:'
	@echo '                    guests recorded and replayed to crash points, TRACE_MINUTES=60'
	@echo 'make install        DESTDIR= PREFIX=/usr/local'
	@echo 'make clean          remove build/; V=1 with any target shows the commands'

-include $(shell [ -d $(BUILD) ] && find $(BUILD) -name '*.d' 2>/dev/null)
