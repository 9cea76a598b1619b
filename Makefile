# Each target makes its own environment in .venv where there is none.
# PYTHON chooses the interpreter that makes it (3.11 or newer); OUT, DATA and ARGS go to the training program.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help train train-images train-text test lint bench clean

help:
	@echo "make train   train the two-layer net on MNIST; pictures and weights go to runs/mnist (ARGS='--epochs 5 ...')"
	@echo "make train-images   train a convolutional net: on CIFAR-10 where it is, else on handwritten digits; to runs/images"
	@echo "make train-text     train a language model on a text (ARGS='--model transformer --data FILE'); to runs/text-lstm"
	@echo "make test    run all tests, and every example in the docstrings and the README"
	@echo "make lint    ruff, mypy, and whether the engine can still be read in one sitting"
	@echo "make bench   compare with PyTorch, JAX, autograd and MyGrad, as far as they are installed"

# One stamp a set of extras: a target installs only what it needs, once, and again when pyproject.toml changes.
$(VENV)/%.stamp: pyproject.toml tools/environment.py
	@$(PYTHON) tools/environment.py $(VENV) $(subst -, ,$*)
	@touch $@

train: $(VENV)/apps.stamp
	$(BIN)/python apps/train_mnist.py $(ARGS)

train-images: $(VENV)/apps.stamp
	$(BIN)/python apps/train_images.py $(ARGS)

train-text: $(VENV)/apps.stamp
	$(BIN)/python apps/train_text.py $(ARGS)

test: $(VENV)/apps-test.stamp
	$(BIN)/python -m pytest -q -n auto $(ARGS)

lint: $(VENV)/apps-test-lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/structure.py

bench: $(VENV)/apps.stamp
	$(BIN)/python benchmarks/run.py $(ARGS)

clean:
	rm -rf $(VENV) build dist runs
