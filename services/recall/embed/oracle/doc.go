// SPDX-License-Identifier: MIT OR Apache-2.0

// Package oracle holds the product's own pass through a sentence model against a general ONNX runtime, which
// executes the graph operation by operation. It is a module of its own, so that the product neither links nor
// requires that runtime:
//
//	make embed-oracle
//
// The models are small ones with random weights, in every form in which weights may be stored. With
// BLUFIO_TEST_MODEL_DIR set the model there is compared too.
package oracle
