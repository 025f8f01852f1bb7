import static java.nio.charset.StandardCharsets.UTF_8;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.MultipartField;
import com.openai.core.http.HttpResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.models.containers.ContainerCreateParams;
import com.openai.models.containers.ContainerCreateParams.ExpiresAfter;
import com.openai.models.containers.ContainerCreateParams.MemoryLimit;
import com.openai.models.containers.ContainerListParams;
import com.openai.models.containers.files.FileCreateParams;
import com.openai.models.containers.files.FileDeleteParams;
import com.openai.models.containers.files.FileListParams;
import com.openai.models.containers.files.FileRetrieveParams;
import com.openai.models.containers.files.content.ContentRetrieveParams;
import com.openai.models.files.FileObject;
import com.openai.models.files.FilePurpose;
import com.openai.models.uploads.UploadCompleteParams;
import com.openai.models.uploads.UploadCreateParams;
import com.openai.models.uploads.parts.PartCreateParams;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.util.List;

/** Call every operation on containers and their files, Files and uploads, one after another. */
public final class Workflow {
    public static void main(String[] arguments) throws IOException {
        PrintStream out = new PrintStream(System.out, true, UTF_8);

        // The base URL and the key are read from OPENAI_BASE_URL and OPENAI_API_KEY.
        OpenAIClient client = OpenAIOkHttpClient.builder()
                .fromEnv()
                .responseValidation(true) // reject responses that do not match their types
                .build();

        // Upload a File, and create a container with a copy of it.
        var cities = client.files()
                .create(com.openai.models.files.FileCreateParams.builder()
                        .file(named("cities.csv", "city,people\nOslo,717710\n"))
                        .purpose(FilePurpose.USER_DATA)
                        .build());
        var container = client.containers()
                .create(ContainerCreateParams.builder()
                        .name("Population")
                        .addFileId(cities.id())
                        .expiresAfter(ExpiresAfter.builder()
                                .anchor(ExpiresAfter.Anchor.LAST_ACTIVE_AT)
                                .minutes(20)
                                .build())
                        .memoryLimit(MemoryLimit._4G)
                        .build());
        out.printf("Created %s, %s%n", container.name(), container.status());

        // An upload is bytes, a path or a stream; a MultipartField adds a file name.
        var files = client.containers().files();
        var notes = files.create(
                container.id(),
                FileCreateParams.builder()
                        .file(named("notes.txt", "Tromsø is missing.\n"))
                        .build());
        out.printf("Uploaded %d bytes%n", notes.bytes());

        // The loop fetches pages as it needs them, and streams the content of each file to the output.
        var page = files.list(
                container.id(),
                FileListParams.builder().limit(1).order(FileListParams.Order.ASC).build());
        for (var file : page.autoPager()) {
            var of = ContentRetrieveParams.builder().containerId(container.id()).build();
            try (HttpResponse content = files.content().retrieve(file.id(), of)) {
                long size = content.body().transferTo(out);
                expect(size == file.bytes(), file);
            }
        }

        // A file can be a copy of a File, have no name, or have special characters in its name.
        var requests = client.files()
                .create(com.openai.models.files.FileCreateParams.builder()
                        .file(named("requests.jsonl", "{\"custom_id\": \"1\"}"))
                        .purpose(FilePurpose.BATCH)
                        .expiresAfter(com.openai.models.files.FileCreateParams.ExpiresAfter.builder()
                                .seconds(3600)
                                .build())
                        .build());
        var copied = files.create(
                container.id(), FileCreateParams.builder().fileId(requests.id()).build());
        out.println("Copied " + copied.path());
        var large = files.create(
                container.id(),
                FileCreateParams.builder().file(new byte[3 << 20]).build());
        var strange = files.create(
                container.id(),
                FileCreateParams.builder().file(named("Tromsø \"\\now\".txt", "x")).build());
        out.println("Uploaded " + large.path());
        out.println("Uploaded " + strange.path());

        // Retrieve objects by their ids.
        var again = client.containers().retrieve(container.id());
        expect(again.createdAt() == container.createdAt() && again.memoryLimit().orElseThrow().asString().equals("4g"), again);
        var same = files.retrieve(
                large.id(), FileRetrieveParams.builder().containerId(container.id()).build());
        expect(same.path().equals(large.path()) && same.bytes() == 3 << 20, same);
        var expiring = client.files().retrieve(requests.id());
        expect(expiring.expiresAt().orElseThrow() == requests.createdAt() + 3600, expiring);
        var found = client.containers()
                .list(ContainerListParams.builder().name("Population").build());
        expect(found.items().get(0).id().equals(container.id()), found);
        var batches = client.files()
                .list(com.openai.models.files.FileListParams.builder().purpose("batch").build());
        expect(batches.items().equals(List.of(requests)), batches);
        try (HttpResponse content = client.files().content(requests.id())) {
            String text = new String(content.body().readAllBytes(), UTF_8);
            expect(text.equals("{\"custom_id\": \"1\"}"), text);
        }

        // Upload a large File in parts of up to 64 MiB, bytes or streams, in any order.
        var creation = UploadCreateParams.builder()
                .bytes(18)
                .filename("large.jsonl")
                .mimeType("application/jsonl")
                .purpose(FilePurpose.BATCH)
                .build();
        var upload = client.uploads().create(creation);
        var parts = client.uploads().parts();
        var end = parts.create(
                upload.id(), PartCreateParams.builder().data("id\": \"1\"}".getBytes(UTF_8)).build());
        var start = parts.create(
                upload.id(),
                PartCreateParams.builder().data(new ByteArrayInputStream("{\"custom_".getBytes(UTF_8))).build());
        var joined = client.uploads()
                .complete(
                        upload.id(),
                        UploadCompleteParams.builder().partIds(List.of(start.id(), end.id())).build())
                .file()
                .orElseThrow();
        try (HttpResponse content = client.files().content(joined.id())) {
            String text = new String(content.body().readAllBytes(), UTF_8);
            expect(text.equals("{\"custom_id\": \"1\"}"), text);
        }
        var cancelled = client.uploads().cancel(client.uploads().create(creation).id());
        out.printf("Sent %d bytes in parts, and %s others%n", joined.bytes(), cancelled.status());

        files.delete(notes.id(), FileDeleteParams.builder().containerId(container.id()).build());
        client.containers().delete(container.id());
        for (FileObject file : List.of(cities, requests, joined)) { // deleting a container does not delete its Files
            expect(client.files().delete(file.id()).deleted(), file);
        }
        out.println("Deleted everything");

        // Each kind of error has its exception, with the API's message.
        try {
            client.containers().retrieve(container.id());
        } catch (NotFoundException error) {
            out.println(error.getMessage());
        }
        try {
            client.containers().list(ContainerListParams.builder().limit(1000).build());
        } catch (BadRequestException error) {
            out.println(error.statusCode() + " " + error.param().orElseThrow() + " " + error.code().orElseThrow());
        }
        Skills.run(client, out);
        client.close();
    }

    private static MultipartField<InputStream> named(String name, String content) {
        return MultipartField.<InputStream>builder()
                .value(new ByteArrayInputStream(content.getBytes(UTF_8)))
                .filename(name)
                .build();
    }

    private static void expect(boolean condition, Object details) {
        if (!condition) throw new AssertionError(details);
    }
}
