package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"
)

const manifest = "---\nname: basic-math\ndescription: Add numbers.\n---\nRun run.py.\n"

// skills calls every operation on skills, one after another.
func skills(ctx context.Context, client openai.Client) {
	// Upload a folder: the name of each file is its path. An *os.File would be sent without its folder.
	skill := must(client.Skills.New(ctx, openai.SkillNewParams{Files: openai.SkillNewParamsFilesUnion{
		OfFileArray: []io.Reader{
			openai.File(strings.NewReader(manifest), "basic_math/SKILL.md", "text/markdown"),
			openai.File(strings.NewReader("print(1 + 1)\n"), "basic_math/run.py", "text/x-python"),
		},
	}}))
	fmt.Printf("Created %s: %s\n", skill.Name, skill.Description)

	// Upload a zip as a new version: a skill is downloaded as a zip, which can be uploaded again.
	zip := read(must(client.Skills.Content.Get(ctx, skill.ID)))
	version := must(client.Skills.Versions.New(ctx, skill.ID, openai.SkillVersionNewParams{
		Default: openai.Bool(true),
		Files: openai.SkillVersionNewParamsFilesUnion{
			OfFile: openai.File(bytes.NewReader(zip), "basic_math.zip", "application/zip"),
		},
	}))
	again := read(must(client.Skills.Versions.Content.Get(ctx, skill.ID, version.Version)))
	expect(bytes.Equal(zip, again), "unexpected zip of %d bytes", len(again))

	// The new version is the latest one, and the default one because the request asked for it.
	expect(must(client.Skills.Get(ctx, skill.ID)).DefaultVersion == "2", "unexpected default version: %s", version.RawJSON())
	updated := must(client.Skills.Update(ctx, skill.ID, openai.SkillUpdateParams{DefaultVersion: "1"}))
	fmt.Printf("Updated to version %s\n", updated.DefaultVersion)

	// The loop fetches pages as it needs them.
	versions := client.Skills.Versions.ListAutoPaging(ctx, skill.ID, openai.SkillVersionListParams{Limit: openai.Int(1)})
	for versions.Next() {
		same := must(client.Skills.Versions.Get(ctx, skill.ID, versions.Current().Version))
		fmt.Printf("Listed %s %s\n", same.Name, same.Version)
	}
	check(versions.Err())
	found := must(client.Skills.List(ctx, openai.SkillListParams{}))
	expect(len(found.Data) == 1 && found.Data[0].ID == skill.ID, "not found: %s", found.RawJSON())

	// A container copies its skills when it is created, and keeps them after they are deleted.
	container := must(client.Containers.New(ctx, openai.ContainerNewParams{
		Name: "Numbers",
		Skills: []openai.ContainerNewParamsSkillUnion{{
			OfSkillReference: &responses.SkillReferenceParam{SkillID: skill.ID, Version: openai.String("latest")},
		}},
	}))
	must(client.Skills.Versions.Delete(ctx, skill.ID, "2"))
	var apiError *openai.Error
	bare := openai.SkillNewParamsFilesUnion{OfFile: openai.File(strings.NewReader(manifest), "SKILL.md", "text/markdown")}
	if _, err := client.Skills.New(ctx, openai.SkillNewParams{Files: bare}); errors.As(err, &apiError) {
		fmt.Println(apiError.StatusCode, apiError.Message)
	}
	must(client.Skills.Delete(ctx, skill.ID))
	check(client.Containers.Delete(ctx, container.ID))
	if _, err := client.Skills.Get(ctx, skill.ID); errors.As(err, &apiError) {
		fmt.Println(apiError.StatusCode, apiError.Message)
	}
}

func read(content *http.Response) []byte {
	body := must(io.ReadAll(content.Body))
	check(content.Body.Close())
	return body
}
