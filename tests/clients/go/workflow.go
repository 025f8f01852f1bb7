// Call every operation on containers and their files, Files and uploads, one after another.
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

	// The base URL and the key are read from OPENAI_BASE_URL and OPENAI_API_KEY.
	client := openai.NewClient()

	// Upload a File, and create a container with a copy of it.
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

	// An upload is any io.Reader; openai.File adds a file name.
	notes := must(client.Containers.Files.New(ctx, container.ID, openai.ContainerFileNewParams{
		File: openai.File(strings.NewReader("Tromsø is missing.\n"), "notes.txt", "text/plain"),
	}))
	fmt.Printf("Uploaded %d bytes\n", notes.Bytes)

	// The loop fetches pages as it needs them, and streams the content of each file to the output.
	files := client.Containers.Files.ListAutoPaging(ctx, container.ID, openai.ContainerFileListParams{
		Limit: openai.Int(1),
		Order: openai.ContainerFileListParamsOrderAsc,
	})
	for files.Next() {
		file := files.Current()
		content := must(client.Containers.Files.Content.Get(ctx, container.ID, file.ID))
		size := must(io.Copy(os.Stdout, content.Body))
		check(content.Body.Close())
		expect(size == file.Bytes, "received %d bytes of %s", size, file.RawJSON())
	}
	check(files.Err())

	// A file can be a copy of a File, have no name, or have special characters in its name.
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

	// Retrieve objects by their ids.
	again := must(client.Containers.Get(ctx, container.ID))
	expect(again.CreatedAt == container.CreatedAt && again.MemoryLimit == "4g", "unexpected: %s", again.RawJSON())
	same := must(client.Containers.Files.Get(ctx, container.ID, large.ID))
	expect(same.Path == large.Path && same.Bytes == 3<<20, "unexpected: %s", same.RawJSON())
	expiring := must(client.Files.Get(ctx, requests.ID))
	expect(expiring.ExpiresAt == requests.CreatedAt+3600, "unexpected: %s", expiring.RawJSON())
	found := must(client.Containers.List(ctx, openai.ContainerListParams{Name: openai.String("Population")}))
	expect(len(found.Data) == 1 && found.Data[0].ID == container.ID, "not found: %s", found.RawJSON())
	batches := must(client.Files.List(ctx, openai.FileListParams{Purpose: openai.String("batch")}))
	expect(len(batches.Data) == 1 && batches.Data[0].ID == requests.ID, "not found: %s", batches.RawJSON())
	content := must(client.Files.Content(ctx, requests.ID))
	text := must(io.ReadAll(content.Body))
	check(content.Body.Close())
	expect(string(text) == `{"custom_id": "1"}`, "content differs: %q", text)

	// Upload a large File in parts of up to 64 MiB, from any io.Reader, in any order.
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
	expect(string(text) == `{"custom_id": "1"}`, "content differs: %q", text)
	cancelled := must(client.Uploads.Cancel(ctx, must(client.Uploads.New(ctx, new)).ID))
	fmt.Printf("Sent %d bytes in parts, and %s others\n", completed.File.Bytes, cancelled.Status)

	check(client.Containers.Files.Delete(ctx, container.ID, notes.ID))
	check(client.Containers.Delete(ctx, container.ID))
	for _, file := range []*openai.FileObject{cities, requests, &completed.File} { // deleting a container does not delete its Files
		deleted := must(client.Files.Delete(ctx, file.ID))
		expect(deleted.Deleted, "not deleted: %s", deleted.RawJSON())
	}
	fmt.Println("Deleted everything")

	// An error is an *openai.Error, with the API's message.
	var apiError *openai.Error
	if _, err := client.Containers.Get(ctx, container.ID); errors.As(err, &apiError) {
		fmt.Println(apiError.StatusCode, apiError.Message)
	}
	if _, err := client.Containers.List(ctx, openai.ContainerListParams{Limit: openai.Int(1000)}); errors.As(err, &apiError) {
		fmt.Println(apiError.StatusCode, apiError.Param, apiError.Code)
	}
	skills(ctx, client)
}

// must returns the value, or exits if there is an error.
func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	var apiError *openai.Error
	if errors.As(err, &apiError) {
		log.Fatalf("%v: %s", err, apiError.Message) // err does not contain the API's message
	}
	expect(err == nil, "%v", err)
}

func expect(condition bool, format string, values ...any) {
	if !condition {
		log.Fatalf(format, values...)
	}
}
