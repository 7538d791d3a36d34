/** Tokenizers and the conversation template. */
package io.gracebeam.worker.methods.text;
