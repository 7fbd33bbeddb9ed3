package asyncsd;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.cloud.client.ServiceInstance;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.cloud.client.loadbalancer.LoadBalanced;
import org.springframework.cloud.netflix.eureka.server.EnableEurekaServer;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.crypto.password.NoOpPasswordEncoder;
import org.springframework.security.crypto.password.PasswordEncoder;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestTemplate;

/** "server OPTION..." is a Eureka server, "client OPTION..." a program that uses one. */
public class Main {
    public static void main(String[] arguments) {
        Class<?> chosen = arguments[0].equals("client") ? Client.class : Server.class;
        SpringApplication.run(chosen, Arrays.copyOfRange(arguments, 1, arguments.length));
    }

    @Configuration
    static class Security {
        /** The default one takes a tenth of a second of each request. */
        @Bean
        @SuppressWarnings("deprecation")
        PasswordEncoder plain() {
            return NoOpPasswordEncoder.getInstance();
        }

        /** --asyncsd.login=true asks for spring.security.user; --asyncsd.csrf=true leaves Spring's default on. */
        @Bean
        SecurityFilterChain chain(
                HttpSecurity http,
                @Value("${asyncsd.login:false}") boolean login,
                @Value("${asyncsd.csrf:false}") boolean csrf)
                throws Exception {
            if (!csrf) {
                http.csrf(protection -> protection.disable());
            }
            http.authorizeHttpRequests(
                    requests -> {
                        if (login) {
                            requests.anyRequest().authenticated();
                        } else {
                            requests.anyRequest().permitAll();
                        }
                    });
            return http.httpBasic(Customizer.withDefaults()).build();
        }
    }

    @Configuration
    @EnableAutoConfiguration
    @EnableEurekaServer
    @Import(Security.class)
    static class Server {}

    @Configuration
    @EnableAutoConfiguration
    @Import({Security.class, Calls.class})
    static class Client {
        @Bean
        @LoadBalanced
        RestTemplate balanced() {
            return new RestTemplate();
        }
    }

    @RestController
    static class Calls {
        private final DiscoveryClient discovery;
        private final RestTemplate balanced;

        Calls(DiscoveryClient discovery, RestTemplate balanced) {
            this.discovery = discovery;
            this.balanced = balanced;
        }

        @GetMapping("/hello")
        String hello() {
            return "hello from Spring";
        }

        /** What Spring's load balancer reaches under the service's name. */
        @GetMapping("/call/{service}")
        String call(@PathVariable("service") String service) {
            return balanced.getForObject("http://" + service + "/hello", String.class);
        }

        /** A service's instances as Spring sees them. */
        @GetMapping("/instances/{service}")
        List<Map<String, Object>> instances(@PathVariable("service") String service) {
            return discovery.getInstances(service).stream().map(Calls::shown).toList();
        }

        private static Map<String, Object> shown(ServiceInstance instance) {
            return Map.of(
                    "id", instance.getInstanceId(),
                    "service", instance.getServiceId(),
                    "uri", instance.getUri().toString(),
                    "secure", instance.isSecure(),
                    "metadata", instance.getMetadata());
        }
    }
}
