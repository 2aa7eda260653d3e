// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"time"

	"github.com/blufio/blufio/services/recall/embed/remote"
)

// Config is the section [recall].
type Config struct {
	Enable     bool   `koanf:"enable" doc:"Keep facts about people and find them again. Switched off, what there is stays."`
	MaxEntries int    `koanf:"max_entries" min:"10" max:"1000000" doc:"Most facts of all people together, history included; beyond it those of the least value go."`
	IndexMB    int    `koanf:"index_mb" min:"1" max:"4096" doc:"Memory for the vectors that are searched, in MiB."`
	ModelDir   string `koanf:"model_dir" doc:"Directory of a sentence model of the BERT family, with model.onnx and tokenizer.json or vocab.txt; empty: words, parts of words and related English words are compared."`

	WordsWeight      float64       `koanf:"words_weight" live:"true" min:"0" max:"10" doc:"What a place among the facts with the same words counts; 0 searches by vectors alone."`
	VectorsWeight    float64       `koanf:"vectors_weight" live:"true" min:"0" max:"10" doc:"What a place among the facts with near vectors counts; 0 searches by words alone."`
	ImportanceWeight float64       `koanf:"importance_weight" live:"true" min:"0" max:"10" doc:"By how much an important fact goes before one that is not: at 1, by up to double."`
	DecayHalfLife    time.Duration `koanf:"decay_half_life" live:"true" min:"0s" max:"876000h" doc:"After what time a fact counts half, down to a quarter at the least; 0s: age does not count."`
	Diversity        float64       `koanf:"diversity" live:"true" min:"0" max:"1" doc:"How much a fact loses that says nearly what a better one has said; 0: nothing."`
	MinSimilarity    float64       `koanf:"min_similarity" live:"true" min:"0" max:"1" doc:"How near a vector must be to be found without a word in common; 0 is the embedder's own."`
	MergeSimilarity  float64       `koanf:"merge_similarity" live:"true" min:"0.5" max:"1" doc:"How near the vectors of two facts with the same numbers and names must be to be one; 1: only the same words are."`

	Server remote.Config `koanf:"server" doc:"A server that makes vectors, where recall.model_dir is empty. Facts and messages are sent to it, and what it costs is not in the budgets of [cost]."`
}

// Defaults are the settings of a fresh install: no model and no server.
func Defaults() Config {
	return Config{
		Enable: true, MaxEntries: 20_000, IndexMB: 12,
		WordsWeight: 1, VectorsWeight: 2, ImportanceWeight: 0.5, DecayHalfLife: 180 * 24 * time.Hour, Diversity: 0.3, MergeSimilarity: 0.95,
		Server: remote.Defaults(),
	}
}

// Bytes is the most that the vectors in memory and those of questions may take.
func (c Config) Bytes() int64 { return int64(c.IndexMB)<<20 + queryCacheBytes }

// queryCacheBytes bounds the vectors of questions that are kept, which those of the built-in embedder are not.
const queryCacheBytes = 512 << 10

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) {
	if c.ModelDir != "" && c.Server.On() {
		report("model_dir", "there is a server too, and one of them makes the vectors", "empty it, or recall.server.base_url")
	}
	if c.WordsWeight == 0 && c.VectorsWeight == 0 {
		report("words_weight", "it is 0, and so is vectors_weight: nothing would be found", "set one of them to 1")
	}
}
