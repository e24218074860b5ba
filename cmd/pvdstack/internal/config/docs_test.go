package config

import (
	"os"
	"strings"
	"testing"
)

const docs = "../../../../docs/configuration.md"

// TestDocs holds that the documentation has the reference as it is, and that the faults
// it shows are told that way.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "```yaml\n"+string(reference)+"```\n") {
		t.Error("docs/configuration.md does not contain reference.yaml as it is: copy it there")
	}
	faulty := strings.NewReplacer("type: tap", "type: tab", "pvd: home", "pvd: hoem").Replace(outline)
	if _, err := Parse("pvd.yaml", []byte(faulty)); err == nil || !strings.Contains(string(text), "```\n"+err.Error()+"\n```\n") {
		t.Errorf("docs/configuration.md does not show these faults as they are:\n%v", err)
	}
}
