import java.util.Map;
import org.openapitools.client.ApiClient;
import org.openapitools.client.api.SessionsApi;
import org.openapitools.client.model.OpenSessionBody;

public class Call {
  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv("KEYFOB_URL"));
    client.setRequestInterceptor(
        request -> request.header("Authorization", "Basic " + System.getenv("KEYFOB_BASIC")));
    SessionsApi sessions = new SessionsApi(client);
    OpenSessionBody body = new OpenSessionBody().subject("alice").claims(Map.of("tier", "gold"));
    var opened = sessions.openSession(body, "key-1");
    System.out.println(sessions.readSession(opened.getSession().getId()).getClaims().get("tier"));
  }
}
