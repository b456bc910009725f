# rlkbox. `make help` lists the targets; CONTRIBUTING.md says more about the tests.

#: V=1              show the commands
#: CC=, CFLAGS=, CPPFLAGS=, LDFLAGS=
#:                  the compiler and its options; a change rebuilds everything
#: DYNAMIC=1        link dynamically even if the C library can be linked statically
#: STATIC=1         build as `make static` does, with musl-gcc and optimized for size
#: WERROR=1         make warnings errors
#: BUILD=DIR        build in DIR instead of build
#: PREFIX=DIR       install to DIR/bin instead of /usr/local/bin; BINDIR= names that directory
#: DESTDIR=DIR      prefix of all paths of the installation
#: MANDIR=DIR       install man pages to DIR/man1 instead of PREFIX/share/man/man1; empty: leave them out
#: APPARMOR_DIR=DIR install the AppArmor profile to DIR instead of /etc/apparmor.d; empty: leave it out
#: STRIP=PROGRAM    the strip program of `make install-strip`
#: COMMIT=HASH      the commit that `--version` shows, if the sources are in neither git nor an archive of it

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
APPARMOR_DIR ?= /etc/apparmor.d
BUILD ?= build
INSTALL ?= install
INSTALL_PROGRAM ?= $(INSTALL) -m 755
STRIP ?= strip
PKG_CONFIG ?= pkg-config
ifeq ($(STATIC),1)
ifneq ($(origin CC),command line)
CC = musl-gcc
endif
CFLAGS ?= -Os -g
endif
CFLAGS ?= -O2 -g

# $(call say,WHAT,FILE) prints one short line for each file. With V=1 make prints the commands instead.
ifeq ($(V),1)
say =
Q =
else
say = @$(if $(findstring s,$(firstword -$(MAKEFLAGS))),:,printf '  %-7s %s\n' $(1) $(call quote,$(2)))
Q = @
endif

# Quotes a text as one word for the shell.
quote = '$(subst ','\'',$(1))'
# The name of a file relative to $(BUILD).
short = $(patsubst $(BUILD)/%,%,$(1))

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	   -Wformat=2 -Wvla -Wconversion -Wpointer-arith -Wwrite-strings -Wundef
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif
HARDENING = -fstack-protector-strong
# 32-bit systems have 64-bit file offsets and times only with these macros (feature_test_macros(7)).
OUR_CPPFLAGS = -iquote . -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64
# Keeps paths of the build machine out of the program, so that builds are reproducible in any directory.
OUR_CFLAGS = $(call quote,-ffile-prefix-map=$(CURDIR)=.)
ifeq ($(STATIC),1)
# musl has no kernel headers, so the system's are searched after musl's own.
# musl's CMSG_NXTHDR has a sign conversion.
WARNINGS += -Wno-sign-conversion
OUR_CPPFLAGS += -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) $(CFLAGS) -print-multiarch)
LINKING = -static
else
HARDENING += -fPIE
LINKING = -pie
# The program is linked statically if the C library is available as a static library. It then shares no
# library with other running programs, but its two processes need a third less memory and start without
# the dynamic loader. DYNAMIC=1 links it dynamically, for distributions. Its addresses are random (PIE)
# either way. On i386 glibc's static library cannot be linked to a static-pie program.
IS_I386 := $(filter 1,$(shell $(CC) $(CFLAGS) -dM -E -x c /dev/null | grep -c __i386__))
print_file = $(filter /%,$(shell $(CC) $(CFLAGS) -print-file-name=$(1)))
STATIC_PIE := $(call print_file,libc.a) $(call print_file,rcrt1.o)
ifneq ($(DYNAMIC)$(SANITIZE)$(IS_I386)$(words $(STATIC_PIE)),2)
PROGRAM_LINKING = -pie
else
PROGRAM_LINKING = -static-pie
endif
endif
PROGRAM_LINKING ?= $(LINKING)
ifdef SANITIZE
HARDENING += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
OUR_LDFLAGS = -fsanitize=$(SANITIZE)
else ifneq ($(filter-out -O0,$(filter -O%,$(CFLAGS))),)
# _FORTIFY_SOURCE needs optimization.
OUR_CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
ALL_CPPFLAGS = $(OUR_CPPFLAGS) $(CPPFLAGS)
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(HARDENING) $(OUR_CFLAGS) $(CFLAGS) -pthread
ALL_LDFLAGS = $(CFLAGS) -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(OUR_LDFLAGS) $(LDFLAGS)
COMPILE = $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)

FOLDERS := base formats os ports usernet net launch api applets
SOURCES := $(sort $(wildcard *.c $(FOLDERS:%=%/*.c)))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/librlkbox.a
CHECKS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(sort $(wildcard tests/unit/check_*.c tests/unit/*/check_*.c)))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(sort $(wildcard tests/tools/*.c)))
# The names of the links. `rlkbox --list` prints the same; tests/build.sh compares the two.
LINKS = rootlesskit docker-rootlesskit rootlessctl rootlesskit-docker-proxy
C_FILES := $(wildcard *.[ch] $(FOLDERS:%=%/*.[ch]) tests/unit/*.[ch] tests/unit/*/*.[ch] tests/fuzz/*.[ch]) \
	   $(wildcard tests/tools/*.c tests/bench/*.c)
SHELL_FILES := $(wildcard tests/*.sh tests/e2e/*.sh tests/peers/*.sh tests/compare/*.sh tests/bench/*.sh) \
	       $(wildcard tests/vm/*.sh tests/vm/guest/*) etc/apparmor.sh .ci/run

.PHONY: all help static check check-unit check-e2e check-peers check-static check-build check-kernels \
	check-systemd test-programs asan tsan valgrind fuzz fuzz-replay lint format format-check \
	bench compare captures demo docs-pictures install install-strip install-apparmor uninstall clean always
.DELETE_ON_ERROR:

all: $(BUILD)/rlkbox ## build the program, build/rlkbox

static: ## build one static file with musl-gcc, build/static/rlkbox
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/static STATIC=1

help: ## list the targets and variables
	@echo 'Targets:'
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20
	@echo 'Variables:'
	@sed -n 's/^#: /  /p' Makefile

$(BUILD)/rlkbox: $(OBJECTS) $(BUILD)/linking
	$(call say,LD,$(call short,$@))
	$(Q)$(CC) $(PROGRAM_LINKING) $(ALL_LDFLAGS) -o $@ $(OBJECTS)

# These files hold the commands for compiling and linking. They change when the command changes, so that
# everything is rebuilt. The mark .rlkbox-build tells `make clean` that the directory was empty before the
# build, and may be removed.
$(BUILD)/compiling: command = $(COMPILE)
$(BUILD)/linking: command = $(CC) $(PROGRAM_LINKING) $(LINKING) $(ALL_LDFLAGS)
$(BUILD)/linking: | $(BUILD)/compiling
$(BUILD)/compiling $(BUILD)/linking: always
	@mkdir -p $(BUILD)
	@[ -n "$$(ls -A $(BUILD))" ] || touch $(BUILD)/.rlkbox-build
	@printf '%s\n' $(call quote,$(command)) | cmp -s - $@ || printf '%s\n' $(call quote,$(command)) >$@

# This file holds the commit that --version shows: that of git; or the one that git archive has written to
# .git_archival.txt, from which GitHub's archives are made, too. git must not look for .git above this
# directory, where another project may be. A build without git keeps the commit of an earlier one.
find_commit = $(shell GIT_OPTIONAL_LOCKS=0 git --git-dir=.git --work-tree=. describe --always --abbrev=40 \
	--exclude='*' --dirty 2>/dev/null || sed -n 's/^node: \([0-9a-f]*\)$$/\1/p' .git_archival.txt)
# Not a variable of the environment, which may be about something else.
given_commit = $(if $(filter command,$(origin COMMIT)),$(COMMIT))
$(BUILD)/commit: commit = $(or $(given_commit),$(find_commit))
$(BUILD)/commit: always | $(BUILD)/compiling
	@commit=$(call quote,$(commit)); [ -n "$$commit" ] || [ -e $@ ] || commit=unknown; \
		[ -z "$$commit" ] || [ "$$commit" = "$$(cat $@ 2>/dev/null)" ] || echo "$$commit" >$@
$(BUILD)/base/version.o: $(BUILD)/commit
$(BUILD)/base/version.o: private COMMIT_FLAG = -DRLKBOX_COMMIT=$(call quote,"$(shell cat $(BUILD)/commit)")

$(BUILD)/%.o: %.c Makefile $(BUILD)/compiling
	$(call say,CC,$(call short,$@))
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(COMMIT_FLAG) -MMD -MP -c -o $@ $<

$(BUILD)/unit $(BUILD)/fuzz $(BUILD)/tools: | $(BUILD)/compiling
	@mkdir -p $@

# ---- tests ----

$(LIBRARY): $(filter-out $(BUILD)/main.o,$(OBJECTS))
	$(call say,AR,$(call short,$@))
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/unit/%: tests/unit/%.c $(LIBRARY) $(BUILD)/linking | $(BUILD)/unit
	$(call say,CHECK,$(call short,$@))
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -MMD -MP -Wno-pedantic -Wno-conversion $(LINKING) $(ALL_LDFLAGS) -o $@ $< \
		$(LIBRARY) $$($(PKG_CONFIG) --cflags --libs check)

# Servers and clients for the tests. They are built without sanitizers, which would slow them down.
$(BUILD)/tools/%: tests/tools/%.c Makefile | $(BUILD)/tools
	$(call say,TOOL,$(call short,$@))
	$(Q)$(CC) $(ALL_CPPFLAGS) -std=gnu11 $(WARNINGS) -O2 -g -pthread -o $@ $<

test-programs: all $(CHECKS) $(TOOLS)

# With TESTS='check_msg check_tcp' only these suites are built.
WANTED_CHECKS = $(if $(TESTS),$(foreach name,$(TESTS),$(filter %/$(name),$(CHECKS))),$(CHECKS))

check: ## run every test; as root, installs missing packages first
	tests/deps.sh
	$(MAKE) test-programs
	tests/run.sh $(BUILD) unit e2e peers

check-unit: all $(WANTED_CHECKS) ## run the unit tests
	tests/run.sh $(BUILD) unit

check-e2e: all $(TOOLS) ## run the end-to-end tests
	tests/run.sh $(BUILD) e2e

check-peers: all $(TOOLS) ## test with real Docker, containerd, BuildKit, Podman and RootlessKit
	tests/deps.sh
	tests/run.sh $(BUILD) peers

compare: all ## compare every visible behaviour with RootlessKit 1.1.0 (Debian) and 3.3.0
	tests/deps.sh
	TESTS="30-rootlesskit 31-rootlesskit-3" tests/run.sh $(BUILD) peers

CAPTURES ?= ../shared/captures-3.3
# The number of recorded command lines of RootlessKit 3.3.0 that must agree. docs/differences.md says why
# the others differ.
CAPTURES_FLOOR ?= 325

captures: all ## replay recorded command lines of RootlessKit from the directory CAPTURES (as root)
	tests/compare/captures.py $(CAPTURES) $(BUILD)/rlkbox --floor $(CAPTURES_FLOOR)

check-static: ## run the end-to-end tests with the static file
	tests/deps.sh
	$(Q)$(MAKE) --no-print-directory static
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/static STATIC=1 $(TOOLS:$(BUILD)/%=$(BUILD)/static/%)
	tests/run.sh $(BUILD)/static e2e

check-build: all ## test the Makefile: its output, what it rebuilds, and what it installs
	BUILD=$(abspath $(BUILD)) tests/build.sh

check-kernels: test-programs ## test on Debian's kernels from 5.10 to the newest, in emulated machines
	tests/deps.sh
	tests/vm/kernels.sh $(BUILD)

check-systemd: all ## test under systemd, with Docker and containerd, in an emulated machine
	tests/deps.sh
	tests/vm/systemd.sh $(BUILD)

ASAN_KINDS = unit e2e
asan: ## run every test under AddressSanitizer and UndefinedBehaviorSanitizer
	tests/deps.sh
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=address,undefined CFLAGS='-O1 -g' test-programs
	tests/run.sh $(BUILD)/asan $(ASAN_KINDS)

tsan: ## run every test under ThreadSanitizer
	tests/deps.sh
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan SANITIZE=thread CFLAGS='-O1 -g' test-programs
	tests/run.sh $(BUILD)/tsan unit e2e

VALGRIND = valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
	   --errors-for-leak-kinds=definite

# These tests do not work under valgrind, because they use seccomp filters, fixed descriptor numbers or
# clone(2), or need full speed. The others need a build without closers (os/closer.h).
NOT_UNDER_VALGRIND = check_closer check_fd check_proc check_udp check_userns

valgrind: ## run the unit tests under valgrind, except for a few
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/valgrind CPPFLAGS='$(CPPFLAGS) -DNO_CLOSERS' CFLAGS='-O1 -g' test-programs
	CHECK_WRAPPER='$(VALGRIND)' CK_FORK=no UNIT_TIMEOUT=1800 TESTS='$(filter-out $(NOT_UNDER_VALGRIND),$(notdir $(CHECKS)))' \
		tests/run.sh $(BUILD)/valgrind unit

# ---- fuzzing ----

FORMATS = base/err base/text $(patsubst %.c,%,$(sort $(wildcard formats/*.c)))
FUZZ_TIME ?= 60

# What a fuzzer needs beyond that: modules of a higher layer, which it surrounds with fakes, or all of
# the network.
$(BUILD)/fuzz/fuzz_frags: usernet/frags.c
$(BUILD)/fuzz/fuzz_stack: $(filter-out base/version.c,$(wildcard base/*.c os/*.c usernet/*.c)) \
	ports/coalesce.c ports/dgram.c ports/fdquota.c ports/flowtable.c
$(BUILD)/fuzz/fuzz_tcpflow: usernet/tcpflow.c usernet/tcpgaps.c usernet/tcpin.c usernet/tcpout.c

$(BUILD)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(FORMATS:%=%.c) | $(BUILD)/fuzz
	$(call say,FUZZER,$(call short,$@))
	$(Q)clang $(OUR_CPPFLAGS) $(CPPFLAGS) -U_FORTIFY_SOURCE -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined \
		-o $@ $< $(filter-out tests/%,$(filter %.c,$^))

fuzz: $(FUZZERS) ## fuzz each parser for FUZZ_TIME seconds
	for f in $(FUZZERS); do \
		mkdir -p $$f.corpus && \
		$$f -max_total_time=$(FUZZ_TIME) -artifact_prefix=$$f- $$f.corpus \
			tests/fuzz/corpus/$${f##*/fuzz_} || exit 1; \
	done

fuzz-replay: $(FUZZERS) ## run the fuzzers with their stored inputs only
	for f in $(FUZZERS); do $$f -runs=0 tests/fuzz/corpus/$${f##*/fuzz_} || exit 1; done

# ---- style ----

lint: format-check ## check style and layers: clang-format, clang-tidy, cppcheck, shellcheck, pyflakes, mandoc
	printf '%s\n' $(SOURCES) | xargs -P 2 -I FILE clang-tidy --quiet --warnings-as-errors='*' \
		FILE -- -iquote . -std=gnu11 -D_GNU_SOURCE
	cppcheck --quiet --enable=warning,performance,portability --inline-suppr --std=c11 \
		--error-exitcode=1 --suppress=missingIncludeSystem -I. -D_GNU_SOURCE $(SOURCES)
	shellcheck -x $(SHELL_FILES)
	pyflakes3 tests/bench/*.py tests/compare/*.py tests/e2e/*.py tests/tools/*.py
	tests/layers.sh
	mandoc -T lint -W warning man/*.1
	@# Other manuals need not be installed where this runs.
	! mandoc -T lint -W style man/*.1 2>/dev/null | grep -v 'referenced manual not found'
	@# No wait without a deadline: await_end in tests/e2e/lib.sh and tests/compare.sh has one.
	! grep -nE '^[[:space:]]*wait "' tests/e2e/[0-9]*.sh tests/peers/*.sh tests/compare/*.sh

format: ## format the sources
	clang-format -i $(C_FILES)

format-check:
	clang-format --dry-run -Werror $(C_FILES)

# ---- use ----

bench: all $(BUILD)/openloop ## compare with RootlessKit 1.1.0 and 3.3.0, pasta and no proxy (docs/benchmarks.md)
	tests/deps.sh bench
	tests/bench/run.sh $(BUILD)

$(BUILD)/openloop: tests/bench/openloop.c Makefile | $(BUILD)/compiling
	$(call say,TOOL,$(call short,$@))
	$(Q)$(CC) $(ALL_CPPFLAGS) -std=gnu11 $(WARNINGS) -O2 -o $@ $<

demo: all $(BUILD)/tools/web ## show a web server in a namespace, reached from the host
	tests/demo.sh $(BUILD)/rlkbox $(BUILD)/tools/web

docs-pictures: ## generate the pictures of docs from their sources (graphviz)
	dot -Tsvg -o docs/path.svg docs/path.dot

# The targets below do not run the built program: it may be for another machine.

TO = $(call quote,$(DESTDIR)$(BINDIR))
# True if $$to/$$name is a link to rlkbox or a copy of it.
is_ours = { [ "$$to/$$name" -ef "$$to/rlkbox" ] || [ "$$(readlink "$$to/$$name")" = rlkbox ] || \
	{ [ ! -L "$$to/$$name" ] && cmp -s "$$to/$$name" "$$to/rlkbox"; }; }

MAN_PAGES = rlkbox.1 rootlesskit.1 docker-rootlesskit.1 rootlessctl.1 rootlesskit-docker-proxy.1
MAN_TO = $(call quote,$(DESTDIR)$(MANDIR)/man1)
define install_man
$(INSTALL) -d $(MAN_TO) && $(INSTALL) -m 644 man/*.1 $(MAN_TO) && \
	ln -sf rootlesskit.1 $(MAN_TO)/docker-rootlesskit.1
endef

# etc/apparmor.sh with what it needs to know; the action follows.
apparmor = BINDIR=$(call quote,$(BINDIR)) APPARMOR_DIR=$(call quote,$(APPARMOR_DIR)) \
	DESTDIR=$(call quote,$(DESTDIR)) etc/apparmor.sh

# The names are hard links, or copies if the file system has no hard links. AppArmor and SELinux look at the
# path that is executed after symbolic links are resolved, and their profiles are for these names. The recipe
# finds our links before it replaces rlkbox, because afterwards it cannot recognize a link to the old one.
install: all ## install to PREFIX (/usr/local): the program under each of its names, man pages, an AppArmor profile
	$(call say,INSTALL,$(DESTDIR)$(BINDIR)/rlkbox)
	$(Q)to=$(TO) links= status=0; \
	if ! $(INSTALL) -d "$$to" || ! [ -w "$$to" ]; then \
		echo "cannot write to $$to; try sudo, or PREFIX=\$$HOME/.local" >&2; \
		exit 1; \
	fi; \
	for name in $(LINKS); do \
		if ! { [ -e "$$to/$$name" ] || [ -L "$$to/$$name" ]; } || $(is_ours); then \
			links="$$links $$name"; \
		else \
			echo "$$to/$$name is there already and is not a link to rlkbox;" \
				"\`rlkbox --install -f\` replaces it; then install again" >&2; \
			status=1; \
		fi; \
	done; \
	$(INSTALL_PROGRAM) $(BUILD)/rlkbox "$$to/rlkbox" || exit; \
	for name in $$links; do \
		rm -f "$$to/$$name" || exit; \
		ln "$$to/rlkbox" "$$to/$$name" 2>/dev/null || cp -p "$$to/rlkbox" "$$to/$$name" || exit; \
	done; \
	exit $$status
	$(Q)$(if $(MANDIR),$(install_man))
	$(Q)$(apparmor) install

install-strip: ## the same as install, without symbols and debugging information
	$(Q)$(MAKE) --no-print-directory INSTALL_PROGRAM='$(INSTALL_PROGRAM) -s --strip-program=$(STRIP)' install

install-apparmor: ## install only the AppArmor profile, as root, for programs that a user has installed
	$(Q)$(apparmor) install

uninstall: ## remove what install has installed
	$(Q)to=$(TO); \
	for name in $(LINKS); do \
		! $(is_ours) || rm -f "$$to/$$name" || exit; \
	done; \
	rm -f "$$to/rlkbox"
	$(Q)$(if $(MANDIR),cd $(MAN_TO) 2>/dev/null || exit 0; rm -f $(MAN_PAGES))
	$(Q)$(apparmor) uninstall

clean: ## remove what was built
	$(Q)if [ -e $(BUILD)/.rlkbox-build ] || [ $(BUILD) = build ]; then \
		rm -rf $(BUILD); \
	elif [ -e $(BUILD) ]; then \
		echo "$(BUILD) had other files in it before the build; remove what was built by hand" >&2; \
		exit 1; \
	fi

-include $(OBJECTS:.o=.d) $(CHECKS:=.d)
