// A no-op external processor: what ext_proc itself costs, in Go over grpc-go, when nobody looks at what passes.
//
// Rules:
//   - It asks Envoy for the same messages as Gatehouse under its default bundle (the run compares Envoy's own counts),
//     decides nothing, changes nothing, and reads two headers and the path.
//   - grpc-go as it comes: no options, the generated code of go-control-plane.
//
// Not here: anything that a processor in use would need (limits, shutdown, health).
package main

import (
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

type processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	governed []string
}

func main() {
	listen := flag.String("listen", "127.0.0.1:50051", "unix:PATH or HOST:PORT")
	governed := flag.String("governed", "/mcp,/v1/chat/completions", "the paths whose bodies are asked for")
	flag.Parse()
	network, address := "tcp", *listen
	if path, ok := strings.CutPrefix(*listen, "unix:"); ok {
		network, address = "unix", path
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(server, &processor{governed: strings.Split(*governed, ",")})
	log.Fatal(server.Serve(listener))
}

// Process answers one exchange. Returning nil ends the RPC with OK, so only Envoy's half-close leads there.
func (p *processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	exchange := exchange{governed: p.governed}
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(exchange.answer(request)); err != nil {
			return err
		}
	}
}

type exchange struct {
	governed []string
	get      bool
	duplex   bool
}

func (e *exchange) answer(request *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	switch part := request.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return &extprocv3.ProcessingResponse{
			Response:     &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}},
			ModeOverride: e.requestModes(part.RequestHeaders),
		}
	case *extprocv3.ProcessingRequest_RequestBody:
		return &extprocv3.ProcessingResponse{
			Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}},
		}
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return &extprocv3.ProcessingResponse{
			Response:     &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}},
			ModeOverride: e.responseModes(part.ResponseHeaders),
		}
	case *extprocv3.ProcessingRequest_ResponseBody:
		return &extprocv3.ProcessingResponse{
			Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: e.body(part.ResponseBody)},
		}
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return &extprocv3.ProcessingResponse{
			Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}},
		}
	default:
		return &extprocv3.ProcessingResponse{
			Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}},
		}
	}
}

// requestModes asks for nothing more on other paths, and for a POST's body, BUFFERED, on the governed ones.
func (e *exchange) requestModes(headers *extprocv3.HttpHeaders) *modev3.ProcessingMode {
	if !slices.Contains(e.governed, header(headers, ":path")) {
		return &modev3.ProcessingMode{ResponseHeaderMode: modev3.ProcessingMode_SKIP}
	}
	e.get = header(headers, ":method") == "GET"
	body := modev3.ProcessingMode_BUFFERED
	if e.get {
		body = modev3.ProcessingMode_NONE
	}
	return &modev3.ProcessingMode{
		ResponseHeaderMode: modev3.ProcessingMode_SEND,
		RequestBodyMode:    body,
	}
}

// responseModes asks for JSON BUFFERED, for an answer's event stream STREAMED, for a GET's in full duplex.
func (e *exchange) responseModes(headers *extprocv3.HttpHeaders) *modev3.ProcessingMode {
	if headers.EndOfStream {
		return nil
	}
	if header(headers, "content-type") == "application/json" {
		return &modev3.ProcessingMode{ResponseBodyMode: modev3.ProcessingMode_BUFFERED}
	}
	mode := modev3.ProcessingMode_STREAMED
	if e.get {
		e.duplex = true
		mode = modev3.ProcessingMode_FULL_DUPLEX_STREAMED
	}
	return &modev3.ProcessingMode{ResponseBodyMode: mode, ResponseTrailerMode: modev3.ProcessingMode_SEND}
}

// body hands a chunk back in full duplex; outside it an empty answer means "as it came".
func (e *exchange) body(chunk *extprocv3.HttpBody) *extprocv3.BodyResponse {
	if !e.duplex {
		return &extprocv3.BodyResponse{}
	}
	return &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{
		BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
			StreamedResponse: &extprocv3.StreamedBodyResponse{Body: chunk.Body, EndOfStream: chunk.EndOfStream},
		}},
	}}
}

func header(headers *extprocv3.HttpHeaders, name string) string {
	for _, line := range headers.GetHeaders().GetHeaders() {
		if line.Key == name {
			return value(line)
		}
	}
	return ""
}

func value(line *corev3.HeaderValue) string {
	if len(line.RawValue) > 0 {
		return string(line.RawValue)
	}
	return line.Value
}
