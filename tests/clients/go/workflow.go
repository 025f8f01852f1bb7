// All that there is to do with containers and their files, one call after another.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
)

func main() {
	log.SetFlags(0)
	ctx := context.Background()

	// Where the API is, and the key, come from OPENAI_BASE_URL and OPENAI_API_KEY.
	client := openai.NewClient()

	// A File that several containers can work on, and a container that begins with a copy of it.
	cities := must(client.Files.New(ctx, openai.FileNewParams{
		File:    openai.File(strings.NewReader("city,people\nOslo,717710\n"), "cities.csv", "text/csv"),
		Purpose: openai.FilePurposeUserData,
	}))
	container := must(client.Containers.New(ctx, openai.ContainerNewParams{
		Name:         "Population",
		FileIDs:      []string{cities.ID},
		ExpiresAfter: openai.ContainerNewParamsExpiresAfter{Anchor: "last_active_at", Minutes: 20},
		MemoryLimit:  openai.ContainerNewParamsMemoryLimit4g,
	}))
	fmt.Printf("Created %s, %s\n", container.Name, container.Status)

	// An upload is any io.Reader, of which openai.File tells the name.
	notes := must(client.Containers.Files.New(ctx, container.ID, openai.ContainerFileNewParams{
		File: openai.File(strings.NewReader("Tromsø is missing.\n"), "notes.txt", "text/plain"),
	}))
	fmt.Printf("Uploaded %d bytes\n", notes.Bytes)

	// The loop fetches one page after another, and each content is streamed to where it should go.
	files := client.Containers.Files.ListAutoPaging(ctx, container.ID, openai.ContainerFileListParams{
		Limit: openai.Int(1),
		Order: openai.ContainerFileListParamsOrderAsc,
	})
	for files.Next() {
		file := files.Current()
		content := must(client.Containers.Files.Content.Get(ctx, container.ID, file.ID))
		size := must(io.Copy(os.Stdout, content.Body))
		check(content.Body.Close())
		expect(size == file.Bytes, "%d bytes came of %s", size, file.RawJSON())
	}
	check(files.Err())

	// A file can also be a copy of a File, by its id; and be without a name, or have a strange one.
	requests := must(client.Files.New(ctx, openai.FileNewParams{
		File:         openai.File(strings.NewReader(`{"custom_id": "1"}`), "requests.jsonl", "application/jsonl"),
		Purpose:      openai.FilePurposeBatch,
		ExpiresAfter: openai.FileNewParamsExpiresAfter{Seconds: 3600},
	}))
	copied := must(client.Containers.Files.New(ctx, container.ID, openai.ContainerFileNewParams{
		FileID: openai.String(requests.ID),
	}))
	fmt.Println("Copied", copied.Path)
	large := must(client.Containers.Files.New(ctx, container.ID, openai.ContainerFileNewParams{
		File: bytes.NewReader(make([]byte, 3<<20)),
	}))
	strange := must(client.Containers.Files.New(ctx, container.ID, openai.ContainerFileNewParams{
		File: openai.File(strings.NewReader("x"), `Tromsø "\now".txt`, "text/plain"),
	}))
	fmt.Println("Uploaded", large.Path)
	fmt.Println("Uploaded", strange.Path)

	// An id is all it takes to come back to something.
	again := must(client.Containers.Get(ctx, container.ID))
	expect(again.CreatedAt == container.CreatedAt && again.MemoryLimit == "4g", "another: %s", again.RawJSON())
	same := must(client.Containers.Files.Get(ctx, container.ID, large.ID))
	expect(same.Path == large.Path && same.Bytes == 3<<20, "another: %s", same.RawJSON())
	expiring := must(client.Files.Get(ctx, requests.ID))
	expect(expiring.ExpiresAt == requests.CreatedAt+3600, "another: %s", expiring.RawJSON())
	found := must(client.Containers.List(ctx, openai.ContainerListParams{Name: openai.String("Population")}))
	expect(len(found.Data) == 1 && found.Data[0].ID == container.ID, "not found: %s", found.RawJSON())
	batches := must(client.Files.List(ctx, openai.FileListParams{Purpose: openai.String("batch")}))
	expect(len(batches.Data) == 1 && batches.Data[0].ID == requests.ID, "not found: %s", batches.RawJSON())
	content := must(client.Files.Content(ctx, requests.ID))
	text := must(io.ReadAll(content.Body))
	check(content.Body.Close())
	expect(string(text) == `{"custom_id": "1"}`, "not as it was sent: %q", text)

	// A large File is sent in parts of up to 64 MiB, from any io.Reader, in any order.
	new := openai.UploadNewParams{
		Bytes: 18, Filename: "large.jsonl", MimeType: "application/jsonl", Purpose: openai.FilePurposeBatch,
	}
	upload := must(client.Uploads.New(ctx, new))
	end := must(client.Uploads.Parts.New(ctx, upload.ID, openai.UploadPartNewParams{Data: strings.NewReader(`id": "1"}`)}))
	start := must(client.Uploads.Parts.New(ctx, upload.ID, openai.UploadPartNewParams{Data: strings.NewReader(`{"custom_`)}))
	completed := must(client.Uploads.Complete(ctx, upload.ID, openai.UploadCompleteParams{PartIDs: []string{start.ID, end.ID}}))
	joined := must(client.Files.Content(ctx, completed.File.ID))
	text = must(io.ReadAll(joined.Body))
	check(joined.Body.Close())
	expect(string(text) == `{"custom_id": "1"}`, "not as it was sent: %q", text)
	cancelled := must(client.Uploads.Cancel(ctx, must(client.Uploads.New(ctx, new)).ID))
	fmt.Printf("Sent %d bytes in parts, and %s others\n", completed.File.Bytes, cancelled.Status)

	check(client.Containers.Files.Delete(ctx, container.ID, notes.ID))
	check(client.Containers.Delete(ctx, container.ID))
	for _, file := range []*openai.FileObject{cities, requests, &completed.File} { // a File outlives the containers it was copied into
		deleted := must(client.Files.Delete(ctx, file.ID))
		expect(deleted.Deleted, "not deleted: %s", deleted.RawJSON())
	}
	fmt.Println("Deleted everything")

	// A refusal is an *openai.Error, with the API's own words.
	var refused *openai.Error
	if _, err := client.Containers.Get(ctx, container.ID); errors.As(err, &refused) {
		fmt.Println(refused.StatusCode, refused.Message)
	}
	if _, err := client.Containers.List(ctx, openai.ContainerListParams{Limit: openai.Int(1000)}); errors.As(err, &refused) {
		fmt.Println(refused.StatusCode, refused.Param, refused.Code)
	}
	skills(ctx, client)
}

// must is for a program that has nothing to do where a call fails.
func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	var refused *openai.Error
	if errors.As(err, &refused) {
		log.Fatalf("%v: %s", err, refused.Message) // the error by itself leaves out the API's words
	}
	expect(err == nil, "%v", err)
}

func expect(so bool, format string, values ...any) {
	if !so {
		log.Fatalf(format, values...)
	}
}
