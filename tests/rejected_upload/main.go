// Send uploads that fail early, and print the size, the path, and the status or the error of each.
// usage: go run main.go http://127.0.0.1:8080
package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
)

func main() {
	for _, size := range []int{2_000_000, 20_000_000} {
		for _, path := range []string{"/v1/containers/cntr_none/files", "/v1/nothing"} {
			for i := 0; i < 10; i++ {
				fmt.Println(size, path, upload(os.Args[1]+path, size))
			}
		}
	}
}

func upload(url string, size int) string {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, _ := form.CreateFormFile("file", "b")
	part.Write(make([]byte, size))
	form.Close()
	request, _ := http.NewRequest("POST", url, &body)
	request.Header.Set("Content-Type", form.FormDataContentType())
	request.Header.Set("Authorization", "Bearer x")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err != nil {
		return err.Error()
	}
	return fmt.Sprint(response.StatusCode)
}
