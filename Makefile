# Every target stands alone: it makes the virtual environment it needs, with the versions pinned in constraints.txt,
# and makes it anew when these, pyproject.toml or what is compiled change.

PYTHON ?= python3.11
FLAGS := --quiet --disable-pip-version-check --no-input
PINNED := $(FLAGS) --constraint constraints.txt
# setuptools, because the tables of causaldata come as a source distribution.
BUILD := hatchling editables setuptools
CHECKERS := ruff mypy pandas-stubs scipy-stubs types-tqdm
PEERS := DoubleML
# What an installation is made of, beyond the files that Python reads where they lie.
BUILT := pyproject.toml hatch_build.py $(wildcard causalif/kernels/*.[ch])
# A variable, because a comma would end an argument of $(call).
WHOLE := test,flow
BENCHED := data,flow

.PHONY: help demo test slow studies docs triton lint types wheel core oldest bench record clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   the main job on the 401(k) table: prints the estimates, draws a figure in output/"
	@echo "make test   the whole test suite, doctests included"
	@echo "make slow   the long tests"
	@echo "make studies the simulation studies of vignettes/coverage.md: hours"
	@echo "make triton the fused kernel in Triton's interpreter; installs a gigabyte"
	@echo "make docs   the site, every page executed: build/docs/index.html"
	@echo "make lint   style (ruff);  make types  annotations (mypy)"
	@echo "make core   builds the wheel and tests it where no extra is installed"
	@echo "make oldest the whole suite with the oldest versions that pyproject.toml allows"
	@echo "make bench  the benchmarks, side by side with peers"
	@echo "make record the figures of README.md and vignettes/evidence.py, measured anew and kept; two hours"
	@echo "make clean  removes the virtual environments and whatever was built"

# One thread a numerical library: the tests are many small problems, which pools of threads only slow down.
test slow core oldest: export OMP_NUM_THREADS ?= 1
test slow core oldest: export OPENBLAS_NUM_THREADS ?= 1

demo: .venv-demo/stamp
	.venv-demo/bin/python -m causalif demo

test: .venv-test/stamp
	CAUSALIF_EXTRAS=all .venv-test/bin/python -m pytest

slow: .venv-test/stamp
	CAUSALIF_EXTRAS=all .venv-test/bin/python -m pytest tests -m slow

studies: export OMP_NUM_THREADS ?= 1
studies: .venv-test/stamp
	.venv-test/bin/python tests/coverage/study_invalid_iv.py --design B --draws 200
	.venv-test/bin/python tests/coverage/study_debiased.py --design C --learners smooth --draws 100
	.venv-test/bin/python tests/coverage/study_debiased.py --design C --learners auto --draws 100
	.venv-test/bin/python tests/coverage/study_debiased.py --design weak --draws 1000
	.venv-test/bin/python tests/coverage/study_selective.py --draws 30
	.venv-test/bin/python tests/coverage/study_wcde.py --design discrete --rows 20000 --draws 1000
	.venv-test/bin/python tests/coverage/study_wcde.py --design continuous --rows 2000 --draws 400
	.venv-test/bin/python tests/coverage/study_structure.py
	.venv-test/bin/python tests/coverage/study_mediation.py --effects natural
	.venv-test/bin/python tests/coverage/study_mediation.py --effects interventional --draws 400 --first 10000
	.venv-test/bin/python tests/coverage/study_sigma.py

triton: .venv-triton/stamp
	TRITON_INTERPRET=1 .venv-triton/bin/python -m pytest tests/kernels/test_triton.py

# From nothing, because pages show what the code and the records say now, which Sphinx does not compare.
docs: .venv-docs/stamp
	rm -rf build/docs build/doctrees
	.venv-docs/bin/python -m sphinx -W --keep-going -q -b html -d build/doctrees vignettes build/docs

lint: .venv-test/stamp
	.venv-test/bin/ruff check .

types: .venv-test/stamp
	.venv-test/bin/mypy

wheel: .venv-core/stamp
	rm -rf build/wheel
	.venv-core/bin/pip wheel $(FLAGS) --no-deps --no-index --no-build-isolation --wheel-dir build/wheel .
	.venv-core/bin/pip install $(FLAGS) --no-deps --no-index --force-reinstall build/wheel/*.whl

# `pytest`, not `python -m pytest`, which would put this folder on the path and test it in place of the wheel.
core: wheel
	CAUSALIF_EXTRAS=none .venv-core/bin/pytest tests

oldest: .venv-oldest/stamp
	CAUSALIF_EXTRAS=all .venv-oldest/bin/python -m pytest

bench: .venv-bench/stamp
	set -e; for script in $(filter-out %_gpu.py benchmarks/record.py,$(wildcard benchmarks/*.py)); do .venv-bench/bin/python "$$script"; done

# Jobs whose peers are not installed are refused, and the rest recorded.
record: .venv-bench/stamp
	.venv-bench/bin/python benchmarks/record.py --all --longest 15

clean:
	rm -rf .venv-demo .venv-test .venv-core .venv-oldest .venv-bench .venv-docs .venv-triton vignettes/_reference causalif/kernels/*.so build output .pytest_cache .mypy_cache .ruff_cache .hypothesis

# $(call environment,FOLDER,WHAT PIP INSTALLS): a fresh environment, so that nothing of an earlier one stays behind.
define environment
	@echo "Installing into $(1); the first time this takes a minute or two."
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/pip install $(PINNED) $(BUILD)
	$(1)/bin/pip install $(PINNED) --no-build-isolation $(2)
	touch $(1)/stamp
endef

.venv-demo/stamp: $(BUILT) constraints.txt
	$(call environment,.venv-demo,--editable '.[plot]')

.venv-test/stamp: $(BUILT) constraints.txt
	$(call environment,.venv-test,--editable '.[$(WHOLE)]' $(CHECKERS))

.venv-core/stamp: $(BUILT) constraints.txt
	$(call environment,.venv-core,. pytest hypothesis)

.venv-oldest/stamp: PINNED := $(FLAGS) --constraint constraints-oldest.txt
.venv-oldest/stamp: $(BUILT) constraints-oldest.txt
	$(call environment,.venv-oldest,--editable '.[$(WHOLE)]')

.venv-bench/stamp: $(BUILT) constraints.txt
	$(call environment,.venv-bench,--editable '.[$(BENCHED)]' $(PEERS))

.venv-docs/stamp: $(BUILT) constraints.txt
	$(call environment,.venv-docs,--editable '.[docs]')

.venv-triton/stamp: $(BUILT) constraints.txt
	$(call environment,.venv-triton,--editable '.[gpu]' pytest hypothesis)
