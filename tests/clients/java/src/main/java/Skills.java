import static java.nio.charset.StandardCharsets.UTF_8;

import com.openai.client.OpenAIClient;
import com.openai.core.http.HttpResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.models.containers.ContainerCreateParams;
import com.openai.models.responses.SkillReference;
import com.openai.models.skills.SkillCreateParams;
import com.openai.models.skills.SkillUpdateParams;
import com.openai.models.skills.versions.VersionCreateParams;
import com.openai.models.skills.versions.VersionDeleteParams;
import com.openai.models.skills.versions.VersionListParams;
import com.openai.models.skills.versions.VersionRetrieveParams;
import com.openai.models.skills.versions.content.ContentRetrieveParams;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** Call every operation on skills, one after another. */
final class Skills {
    static void run(OpenAIClient client, PrintStream out) throws IOException {
        // Upload a zip of the skill's folder: bytes and streams are sent without names, so single files would lose their paths.
        byte[] zip = zipped("basic_math/SKILL.md");
        var skill = client.skills().create(SkillCreateParams.builder().files(zip).build());
        out.printf("Created %s: %s%n", skill.name(), skill.description());

        // The new version is the latest one, and the default one because the request asked for it.
        var versions = client.skills().versions();
        var version = versions.create(
                skill.id(), VersionCreateParams.builder().files(zip).default_(true).build());
        expect(client.skills().retrieve(skill.id()).defaultVersion().equals(version.version()), version);
        try (HttpResponse content = client.skills().content().retrieve(skill.id())) {
            expect(content.body().readAllBytes().length == zip.length, zip.length);
        }
        var of = ContentRetrieveParams.builder().skillId(skill.id()).build();
        try (HttpResponse content = versions.content().retrieve("2", of)) {
            expect(content.body().readAllBytes().length == zip.length, zip.length);
        }
        var updated = client.skills()
                .update(skill.id(), SkillUpdateParams.builder().defaultVersion("1").build());
        out.println("Updated to version " + updated.defaultVersion());

        // The loop fetches pages as it needs them.
        for (var each : versions.list(skill.id(), VersionListParams.builder().limit(1).build()).autoPager()) {
            var same = versions.retrieve(
                    each.version(), VersionRetrieveParams.builder().skillId(skill.id()).build());
            out.printf("Listed %s %s%n", same.name(), same.version());
        }
        expect(client.skills().list().items().get(0).id().equals(skill.id()), skill);

        // A container copies its skills when it is created, and keeps them after they are deleted.
        var container = client.containers()
                .create(ContainerCreateParams.builder()
                        .name("Numbers")
                        .addSkill(SkillReference.builder().skillId(skill.id()).version("latest").build())
                        .build());
        versions.delete("2", VersionDeleteParams.builder().skillId(skill.id()).build());
        try {
            client.skills().create(SkillCreateParams.builder().files(zipped("SKILL.md")).build());
        } catch (BadRequestException error) {
            out.println(error.getMessage());
        }
        client.skills().delete(skill.id());
        client.containers().delete(container.id());
        try {
            client.skills().retrieve(skill.id());
        } catch (NotFoundException error) {
            out.println(error.getMessage());
        }
    }

    private static byte[] zipped(String name) throws IOException {
        var bytes = new ByteArrayOutputStream();
        try (var zip = new ZipOutputStream(bytes)) {
            zip.putNextEntry(new ZipEntry(name));
            zip.write("---\nname: basic-math\ndescription: Add numbers.\n---\n".getBytes(UTF_8));
        }
        return bytes.toByteArray();
    }

    private static void expect(boolean condition, Object details) {
        if (!condition) throw new AssertionError(details);
    }
}
