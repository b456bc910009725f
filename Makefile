# rlkbox. README.md says what the targets are for; `make help` lists them.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
BUILD ?= build
CFLAGS ?= -O2 -g

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	   -Wformat=2 -Wvla -Wconversion -Wpointer-arith -Wwrite-strings -Wundef
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif
HARDENING = -fstack-protector-strong
CPPFLAGS += -D_GNU_SOURCE
ifeq ($(STATIC),1)
# musl does not bring the kernel's headers; glibc's come after its own.
# musl's CMSG_NXTHDR converts signs.
WARNINGS += -Wno-sign-conversion
CPPFLAGS += -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) -print-multiarch)
LINKING = -static
else
HARDENING += -fPIE
LINKING = -pie
# The program is linked statically where the C library can be had so: its two processes share no
# library with others that are running, need a third less memory, and start without the loader.
# DYNAMIC=1 links it dynamically, for distributions. Its addresses are random either way.
STATIC_PIE := $(filter /%,$(shell $(CC) -print-file-name=libc.a) $(shell $(CC) -print-file-name=rcrt1.o))
ifneq ($(DYNAMIC)$(SANITIZE)$(words $(STATIC_PIE)),2)
PROGRAM_LINKING = -pie
else
PROGRAM_LINKING = -static-pie
endif
endif
PROGRAM_LINKING ?= $(LINKING)
ifndef SANITIZE
CPPFLAGS += -D_FORTIFY_SOURCE=2
else
HARDENING += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=$(SANITIZE)
endif
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(HARDENING) $(CFLAGS) -pthread -MMD -MP
ALL_LDFLAGS = -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)

SOURCES := $(sort $(wildcard *.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/librlkbox.a
CHECKS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(sort $(wildcard tests/unit/check_*.c)))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(sort $(wildcard tests/tools/*.c)))
C_FILES := $(wildcard *.c *.h tests/unit/*.c tests/unit/*.h tests/fuzz/*.[ch] tests/tools/*.c tests/bench/*.c)
SHELL_FILES := $(wildcard tests/*.sh tests/e2e/*.sh tests/peers/*.sh tests/compare/*.sh tests/bench/*.sh) \
	       .ci/run

.PHONY: all help static check check-unit check-e2e check-peers check-static test-programs asan tsan valgrind \
	fuzz fuzz-replay lint format format-check bench compare captures demo install uninstall clean always
.DELETE_ON_ERROR:

all: $(BUILD)/rlkbox ## build the program, build/rlkbox

static: ## build one static file with musl-gcc, build/static/rlkbox
	$(MAKE) BUILD=build/static CC=musl-gcc STATIC=1 CFLAGS='-Os -g'

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

$(BUILD)/rlkbox: $(OBJECTS) $(BUILD)/linking
	$(CC) $(PROGRAM_LINKING) $(ALL_LDFLAGS) -o $@ $(OBJECTS)

# Written anew where it is linked in another way than the last time.
$(BUILD)/linking: always | $(BUILD)
	@echo '$(CC) $(PROGRAM_LINKING)' | cmp -s - $@ || echo '$(CC) $(PROGRAM_LINKING)' >$@

$(BUILD)/%.o: %.c Makefile | $(BUILD)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD) $(BUILD)/unit $(BUILD)/fuzz $(BUILD)/tools:
	mkdir -p $@

# ---- tests ----

$(LIBRARY): $(filter-out $(BUILD)/main.o,$(OBJECTS))
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/unit/%: tests/unit/%.c $(LIBRARY) | $(BUILD)/unit
	$(CC) $(CPPFLAGS) -I. $(ALL_CFLAGS) -Wno-pedantic -Wno-conversion $(LINKING) $(ALL_LDFLAGS) -o $@ $< \
		$(LIBRARY) $$(pkg-config --cflags --libs check)

# What tests talk to: never slowed down by a sanitizer.
$(BUILD)/tools/%: tests/tools/%.c | $(BUILD)/tools
	$(CC) $(CPPFLAGS) -std=gnu11 $(WARNINGS) -O2 -g -pthread -o $@ $<

test-programs: all $(CHECKS) $(TOOLS)

check: ## run every test; brings what is missing, if it may
	tests/deps.sh
	$(MAKE) test-programs
	tests/run.sh $(BUILD) unit e2e peers

check-unit: test-programs ## run the unit tests
	tests/run.sh $(BUILD) unit

check-e2e: test-programs ## run the end-to-end tests
	tests/run.sh $(BUILD) e2e

check-peers: test-programs ## run real Docker and containerd on top, and Debian's rootlesskit beside it
	tests/deps.sh
	tests/run.sh $(BUILD) peers

compare: all ## compare every visible behaviour with Debian's rootlesskit
	tests/deps.sh
	TESTS=30-reference tests/run.sh $(BUILD) peers

CAPTURES ?= ../shared/captures
# So many of RootlessKit 3.0.1's agree; the others differ for a reason that README.md gives.
CAPTURES_FLOOR ?= 0

captures: all ## replay RootlessKit's recorded command lines in the directory CAPTURES (root)
	tests/compare/captures.py $(CAPTURES) $(BUILD)/rlkbox --floor $(CAPTURES_FLOOR)

check-static: ## run the end-to-end tests with the static file
	tests/deps.sh
	$(MAKE) static
	$(MAKE) BUILD=build/static $(TOOLS:$(BUILD)/%=build/static/%)
	tests/run.sh build/static e2e

asan: ## run every test under AddressSanitizer and UndefinedBehaviorSanitizer
	tests/deps.sh
	$(MAKE) BUILD=build/asan SANITIZE=address,undefined CFLAGS='-O1 -g' test-programs
	tests/run.sh build/asan unit e2e

tsan: ## run every test under ThreadSanitizer
	tests/deps.sh
	$(MAKE) BUILD=build/tsan SANITIZE=thread CFLAGS='-O1 -g' test-programs
	tests/run.sh build/tsan unit e2e

VALGRIND = valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
	   --errors-for-leak-kinds=definite

# Not under valgrind: system calls taken away by a filter, descriptors by number, rushes that need speed.
NOT_UNDER_VALGRIND = check_fd check_proc check_udp

valgrind: test-programs ## run the unit tests under valgrind, but for a few
	CHECK_WRAPPER='$(VALGRIND)' CK_FORK=no TESTS='$(filter-out $(NOT_UNDER_VALGRIND),$(notdir $(CHECKS)))' \
		tests/run.sh $(BUILD) unit

# ---- fuzzing the formats layer ----

FORMATS = err text json jsonout http httpout portspec subid bpreq slirpapi
FUZZ_TIME ?= 60

$(BUILD)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(FORMATS:%=%.c) | $(BUILD)/fuzz
	clang $(CPPFLAGS) -I. -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined \
		-o $@ $< $(FORMATS:%=%.c)

fuzz: $(FUZZERS) ## fuzz each parser for FUZZ_TIME seconds
	for f in $(FUZZERS); do \
		mkdir -p $$f.corpus && \
		$$f -max_total_time=$(FUZZ_TIME) -artifact_prefix=$$f- $$f.corpus \
			tests/fuzz/corpus/$${f##*/fuzz_} || exit 1; \
	done

fuzz-replay: $(FUZZERS) ## run the fuzzers over their stored inputs only
	for f in $(FUZZERS); do $$f -runs=0 tests/fuzz/corpus/$${f##*/fuzz_} || exit 1; done

# ---- how it reads ----

lint: format-check ## clang-format, clang-tidy, cppcheck, shellcheck
	printf '%s\n' $(SOURCES) | xargs -P 2 -I FILE clang-tidy --quiet --warnings-as-errors='*' \
		FILE -- -std=gnu11 -D_GNU_SOURCE
	cppcheck --quiet --enable=warning,performance,portability --inline-suppr --std=c11 \
		--error-exitcode=1 --suppress=missingIncludeSystem -D_GNU_SOURCE $(SOURCES)
	shellcheck -x $(SHELL_FILES)
	pyflakes3 tests/bench/*.py tests/compare/*.py
	tests/layers.sh

format: ## format the sources
	clang-format -i $(C_FILES)

format-check:
	clang-format --dry-run -Werror $(C_FILES)

# ---- use ----

bench: all $(BUILD)/openloop ## measure against Debian's rootlesskit, pasta and no proxy (docs/benchmarks.md)
	tests/deps.sh bench
	tests/bench/run.sh $(BUILD)

$(BUILD)/openloop: tests/bench/openloop.c | $(BUILD)
	$(CC) $(CPPFLAGS) -std=gnu11 $(WARNINGS) -O2 -o $@ $<

demo: all ## show the main job: a web server inside, reached from the host
	tests/demo.sh $(BUILD)/rlkbox

install: all ## install to PREFIX (/usr/local), with links for each name
	install -d $(DESTDIR)$(BINDIR)
	install -s -m 755 $(BUILD)/rlkbox $(DESTDIR)$(BINDIR)/rlkbox
	$(DESTDIR)$(BINDIR)/rlkbox --install -s $(DESTDIR)$(BINDIR)

uninstall: ## remove what install brought
	for name in $$($(DESTDIR)$(BINDIR)/rlkbox --list); do \
		[ ! $(DESTDIR)$(BINDIR)/$$name -ef $(DESTDIR)$(BINDIR)/rlkbox ] || \
			rm -f $(DESTDIR)$(BINDIR)/$$name; \
	done
	rm -f $(DESTDIR)$(BINDIR)/rlkbox

clean: ## remove what was built
	rm -rf build

-include $(OBJECTS:.o=.d) $(CHECKS:=.d)
